//! A place in a container's log, and how to find it again.
//!
//! Pure. The engine knows no places but times, and several lines may have one time; a line of one stream may be a little
//! older than what the other printed before it, and a clock may be set back. So a place is the time of the last line with
//! the number of lines at that time, and below it the same for what was newer before: a stack of falling times.
//!
//! ```text
//!  log      5  7  9  6  6 |        place  9×1, 6×2: read from 6 on, skip to the first 9, then to the second 6
//! ```

use super::lines::Line;

/// How far before a place is read, so that nothing is missed that is a little older: in nanoseconds.
const MARGIN: i64 = 10_000_000_000;
/// Steps back that are remembered. With more of them, places between the first and the last are forgotten.
const MOST: usize = 4;

/// So many lines at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    /// Lines of standard output.
    pub stdout: u32,
    /// Lines of standard error.
    pub stderr: u32,
}

impl Anchor {
    fn of(line: &Line) -> Self {
        let mut anchor = Self {
            time: line.time,
            stdout: 0,
            stderr: 0,
        };
        anchor.count(line);
        anchor
    }

    fn count(&mut self, line: &Line) {
        let count = if line.stderr {
            &mut self.stderr
        } else {
            &mut self.stdout
        };
        *count = count.saturating_add(1);
    }
}

/// A place in a log: right after the lines that were pushed. Empty: before the first line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The newest first; each older than the one before.
    anchors: Vec<Anchor>,
}

impl Position {
    /// The place that these anchors name; none when they name none.
    pub fn new(anchors: Vec<Anchor>) -> Option<Self> {
        let falling = anchors.is_sorted_by(|a, b| a.time > b.time);
        let counted = |anchor: &Anchor| anchor.time > 0 && anchor.stdout | anchor.stderr != 0;
        (falling && anchors.len() <= MOST && anchors.iter().all(counted))
            .then_some(Self { anchors })
    }

    /// What names the place.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The place is behind this line, too. Lines without a time have no place.
    pub fn push(&mut self, line: &Line) {
        if line.time <= 0 {
            return;
        }
        while let Some(last) = self.anchors.last_mut() {
            if last.time == line.time {
                last.count(line);
                return;
            }
            if last.time > line.time {
                break;
            }
            // Everything from there on is older than what is read from now on.
            self.anchors.pop();
        }
        if self.anchors.len() == MOST {
            self.anchors.remove(1);
        }
        self.anchors.push(Anchor::of(line));
    }

    /// Where to read from, to find the place again.
    pub fn since(&self) -> Option<i64> {
        let last = self.anchors.last()?;
        Some(last.time.saturating_sub(MARGIN).max(1))
    }
}

/// What a line is to somebody who was at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lies before the place.
    Given,
    /// It lies behind the place.
    New,
    /// It lies behind the place, which is not stored any more: what came after this time may be missing.
    Lost(i64),
}

/// Looks for a place in a log that is read again.
#[derive(Debug)]
pub struct Skip {
    anchors: Vec<Anchor>,
    /// What is looked for.
    stage: usize,
    stdout: u32,
    stderr: u32,
}

impl Skip {
    /// Looks for this place.
    pub fn to(position: &Position) -> Self {
        Self {
            anchors: position.anchors.clone(),
            stage: 0,
            stdout: 0,
            stderr: 0,
        }
    }

    /// Whether the place is found.
    pub fn is_over(&self) -> bool {
        self.stage >= self.anchors.len()
    }

    /// What the next line is.
    pub fn look(&mut self, line: &Line) -> Verdict {
        let (Some(wanted), Some(newest)) = (self.anchors.get(self.stage), self.anchors.first())
        else {
            return Verdict::New;
        };
        if line.time <= 0 {
            return Verdict::Given;
        }
        if line.time > newest.time {
            let last = self.anchors.last().map_or(0, |last| last.time);
            self.stage = self.anchors.len();
            return Verdict::Lost(last);
        }
        if line.time == wanted.time {
            let (seen, most) = if line.stderr {
                (&mut self.stderr, wanted.stderr)
            } else {
                (&mut self.stdout, wanted.stdout)
            };
            *seen = seen.saturating_add(1).min(most);
            if self.stdout >= wanted.stdout && self.stderr >= wanted.stderr {
                self.stage += 1;
                (self.stdout, self.stderr) = (0, 0);
            }
        }
        Verdict::Given
    }
}

#[cfg(test)]
#[path = "position_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
