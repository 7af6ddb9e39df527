//! What the caller sends while its command runs: standard input, and signals.
//!
//! Steps come in order, so a signal waits behind the input that was sent before it. While the command does
//! not read, a bounded part of the input is held here, so that a signal behind that is still found.

use std::{collections::VecDeque, future::pending};

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::target::Input;
use crate::{
    engines::docker::Signal,
    proto::{RunCommandRequest, run_command_request::Step},
    services::error,
};

/// With so many bytes held, or so many pieces, no further step is read before the command reads.
const HELD: usize = 512 * 1024;
const PIECES: usize = 1024;

/// Hands the caller's steps on until there are no more. The end of the caller's stream ends the input.
pub(super) async fn hand_on(
    mut steps: Streaming<RunCommandRequest>,
    input: Input,
    signals: Sender<Signal>,
) -> Result<(), Status> {
    let mut stdin = Stdin {
        input: Some(input),
        held: VecDeque::new(),
        bytes: 0,
        over: false,
    };
    let mut over = false;
    while !(over && stdin.input.is_none()) {
        let full = stdin.is_full();
        let step = tokio::select! {
            biased;
            step = steps.next(), if !over && !full => step.transpose()?,
            () = stdin.write_some() => continue,
        };
        match step.map(|request| request.step) {
            Some(Some(Step::Stdin(bytes))) => stdin.push(bytes),
            Some(Some(Step::StdinEnd(_))) => stdin.end(),
            Some(Some(Step::Signal(name))) => {
                let signal = name
                    .parse()
                    .map_err(|error| error::invalid("signal", &name, error))?;
                // Fails when the command has ended.
                let _ = signals.send(signal).await;
            }
            Some(Some(Step::Start(_))) => {
                return Err(error::invalid("start", "", "a command is started once"));
            }
            Some(None) => {}
            None => {
                over = true;
                stdin.end();
            }
        }
    }
    Ok(())
}

/// Standard input, with what the command has not taken of it yet.
struct Stdin {
    /// None once it has been ended.
    input: Option<Input>,
    held: VecDeque<Bytes>,
    bytes: usize,
    /// No more comes than what is held.
    over: bool,
}

impl Stdin {
    fn is_full(&self) -> bool {
        self.bytes >= HELD || self.held.len() >= PIECES
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() && !self.over {
            self.bytes += piece.len();
            self.held.push_back(piece);
        }
    }

    fn end(&mut self) {
        self.over = true;
        if self.held.is_empty() {
            self.input = None;
        }
    }

    /// Writes some of what is held; pends while nothing is. Cancel-safe.
    async fn write_some(&mut self) {
        let (Some(input), Some(piece)) = (&mut self.input, self.held.front_mut()) else {
            return pending().await;
        };
        let before = piece.len();
        input.write_some(piece).await;
        self.bytes -= before - piece.len();
        if piece.is_empty() {
            self.held.pop_front();
        }
        if self.over && self.held.is_empty() {
            self.input = None;
        }
    }
}
