//! Reads standard input on a thread of its own: a read of a terminal or a pipe cannot be cancelled.

use std::{
    io::{self, Read as _},
    thread,
};

use tokio::sync::mpsc;

use super::failure::Failure;

/// Bytes in one piece.
const PIECE: usize = 32 * 1024;

/// Sends standard input piece by piece; the end of the channel is the end of the input, unless an error came last.
pub(crate) fn read() -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, Failure> {
    let (pieces, receiver) = mpsc::channel(2);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; PIECE];
            let mut input = io::stdin().lock();
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) => {
                        let piece = buffer.get(..length).unwrap_or_default().to_vec();
                        if pieces.blocking_send(Ok(piece)).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        let _ = pieces.blocking_send(Err(error));
                        return;
                    }
                }
            }
        })
        .map_err(Failure::Start)?;
    Ok(receiver)
}
