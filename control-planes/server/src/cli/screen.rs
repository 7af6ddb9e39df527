//! What an operation shows: bars that move on a terminal, a line for each change elsewhere, JSON for programs.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, stderr},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use turbopanel_control_plane::proto::agent::{
    OperationEvent, OperationOutput, OperationProgress, OutputStream, operation_event::Event,
};

use super::{
    colour,
    failure::Failure,
    operations::for_programs,
    output::{Output, Side},
    text,
};

/// Bars that are drawn, and items whose words are remembered.
const MOST: usize = 256;

/// Where an operation is shown.
pub(crate) struct Screen {
    output: Output,
    form: Form,
}

enum Form {
    Json,
    /// What was said last of each item.
    Lines(HashMap<String, String>),
    Bars(MultiProgress, HashMap<String, ProgressBar>),
}

impl Screen {
    /// Output goes to standard output; how it gets on, to standard error, in bars if that is a terminal.
    pub(crate) fn new(json: bool, output: Output) -> Self {
        let form = if json {
            Form::Json
        } else if stderr().is_terminal() && colour::on_stderr() {
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            Form::Bars(bars, HashMap::new())
        } else {
            Form::Lines(HashMap::new())
        };
        Self { output, form }
    }

    /// Shows an event.
    pub(crate) async fn show(&mut self, event: &OperationEvent) -> Result<(), Failure> {
        if matches!(self.form, Form::Json) {
            let mut line = for_programs(event).to_string().into_bytes();
            line.push(b'\n');
            return self.output.write(Side::Out, line).await;
        }
        match &event.event {
            Some(Event::Progress(progress)) => self.progress(progress).await,
            Some(Event::Output(output)) => self.printed(output).await,
            Some(Event::Gap(gap)) => {
                let line = format!("({} older events are not kept)\n", gap.events);
                self.output.write(Side::Err, line.into_bytes()).await
            }
            Some(Event::Operation(_)) | None => Ok(()),
        }
    }

    async fn progress(&mut self, progress: &OperationProgress) -> Result<(), Failure> {
        let (item, status) = (text::safe(&progress.item), text::safe(&progress.status));
        match &mut self.form {
            Form::Json => Ok(()),
            Form::Bars(all, bars) => {
                if !bars.contains_key(&item) && bars.len() < MOST {
                    bars.insert(item.clone(), all.add(ProgressBar::no_length()));
                }
                if let Some(bar) = bars.get(&item) {
                    draw(bar, &item, status, progress);
                }
                Ok(())
            }
            Form::Lines(said) => {
                if said.get(&item) == Some(&status) {
                    return Ok(());
                }
                if said.len() < MOST {
                    said.insert(item.clone(), status.clone());
                }
                let colon = if item.is_empty() { "" } else { ": " };
                let line = format!("{item}{colon}{status}\n");
                self.output.write(Side::Err, line.into_bytes()).await
            }
        }
    }

    async fn printed(&mut self, output: &OperationOutput) -> Result<(), Failure> {
        let side = match output.stream() {
            OutputStream::Stderr => Side::Err,
            OutputStream::Stdout | OutputStream::Unspecified => Side::Out,
        };
        if let Form::Bars(all, _) = &self.form {
            // Bars are drawn again below what is printed.
            let _ = all.clear();
        }
        self.output.write(side, output.content.to_vec()).await
    }

    /// Leaves the last state on the screen, and waits until all is written.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        if let Form::Bars(_, bars) = &self.form {
            for bar in bars.values() {
                bar.abandon();
            }
        }
        self.output.finish().await
    }
}

fn draw(bar: &ProgressBar, item: &str, status: String, progress: &OperationProgress) {
    let template = if progress.total > 0 {
        "{prefix:12} {bar:30} {bytes:>10} / {total_bytes:10} {msg}"
    } else if progress.current > 0 {
        "{prefix:12} {bytes:>10} {msg}"
    } else {
        "{prefix:12} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    match progress.total {
        0 => bar.unset_length(),
        total => bar.set_length(total),
    }
    bar.set_position(progress.current);
    bar.set_prefix(item.to_owned());
    bar.set_message(status);
}
