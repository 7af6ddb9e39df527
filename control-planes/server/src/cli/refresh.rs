//! Shows something on a terminal again and again, until a signal ends it.

use std::{
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use rustix::termios::tcgetwinsize;

use super::{failure::Failure, interrupt::Interrupts, output::print, table::Table};

/// The time between two frames.
const PAUSE: Duration = Duration::from_secs(2);
/// A terminal of its own, as pagers use it, and the one before again.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// What is shown at once.
pub(crate) struct Frame {
    /// One below the other.
    pub(crate) tables: Vec<Table>,
    /// Sentences below them.
    pub(crate) notes: Vec<String>,
}

impl From<Table> for Frame {
    fn from(table: Table) -> Self {
        Self {
            tables: vec![table],
            notes: Vec::new(),
        }
    }
}

/// Shows frames until a signal comes or one fails. None where standard output is no terminal.
pub(crate) async fn live(
    frame: impl AsyncFn() -> Result<Frame, Failure>,
) -> Option<Result<u8, Failure>> {
    if !stdout().is_terminal() {
        return None;
    }
    let mut interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(failure) => return Some(Err(failure)),
    };
    // What is wrong from the start is told on the terminal that was there before.
    let mut next = tokio::select! {
        biased;
        signal = interrupts.next() => return Some(Err(Failure::Signal(signal))),
        first = frame() => match first {
            Ok(first) => first,
            Err(failure) => return Some(Err(failure)),
        },
    };
    let mut shown = print(ENTER.as_bytes());
    let ended = loop {
        shown = shown.and_then(|()| print(draw(&next).as_bytes()));
        if let Err(failure) = shown {
            break failure;
        }
        let following = async {
            tokio::time::sleep(PAUSE).await;
            frame().await
        };
        tokio::select! {
            biased;
            signal = interrupts.next() => break Failure::Signal(signal),
            frame = following => match frame {
                Ok(frame) => next = frame,
                Err(failure) => break failure,
            },
        }
    };
    let _ = print(LEAVE.as_bytes());
    Some(Err(ended))
}

/// The frame from the terminal's first line on, as much of it as fits.
fn draw(frame: &Frame) -> String {
    let size = tcgetwinsize(stdout()).ok();
    let height = size.map_or(24, |size| size.ws_row.max(2));
    let width = size.map_or(80, |size| size.ws_col.max(20));
    let mut tables = Vec::new();
    for table in &frame.tables {
        tables.push(table.text());
    }
    let mut text = tables.join("\n");
    for note in &frame.notes {
        text.push_str(note);
        text.push('\n');
    }
    let mut drawn = "\u{1b}[H".to_owned();
    let lines = text.lines().take(usize::from(height) - 1);
    for line in lines {
        drawn.push_str(&cut(line, usize::from(width)));
        // What stood there before.
        drawn.push_str("\u{1b}[0m\u{1b}[K\r\n");
    }
    drawn.push_str("\u{1b}[J");
    drawn
}

/// The line's first characters. A colour takes no room.
fn cut(line: &str, width: usize) -> String {
    let mut shown = 0;
    let mut in_colour = false;
    let fits = |c: &char| {
        if *c == '\u{1b}' {
            in_colour = true;
        } else if in_colour {
            in_colour = *c != 'm';
        } else {
            shown += 1;
        }
        shown <= width
    };
    line.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn lines_are_cut_and_colours_take_no_room() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("\u{1b}[31mab\u{1b}[0mcd", 3), "\u{1b}[31mab\u{1b}[0mc");
        assert_eq!(cut("ä", 5), "ä");
    }
}
