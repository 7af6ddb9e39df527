//! Where Podman's Docker-compatible API says the same as Docker in other words.
//!
//! docs/podman.md lists what differs; what stands here is mended.

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use serde_json::Value;

use super::{ask::understood, error::Error};

/// What an answer's header `Server` says of Podman.
pub(super) const SERVER: &str = "Libpod";
/// The grace of Docker and of `podman run`. Containers that are made through the API have none that they asked for.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// A refusal, with the status and the words that Docker has for it.
pub(super) fn translated(status: u16, message: String) -> (u16, String) {
    let ends = |words: &str| message.ends_with(words);
    match status {
        404 if ends(": no such container") => (404, format!("No such container: {message}")),
        500 if ends(": container state improper") => (409, message),
        500 if ends(": that name is already in use") => (409, message),
        _ => (status, message),
    }
}

/// A container, with Docker's word for its state: Docker's types know no other.
pub(super) fn inspected(mut answer: Value) -> Result<ContainerInspectResponse, Error> {
    if let Some(status) = answer.pointer_mut("/State/Status") {
        let word = match status.as_str().unwrap_or_default() {
            // It has ended, and is not tidied up yet.
            "stopped" => "exited",
            "configured" | "initialized" => "created",
            known @ ("created" | "running" | "paused" | "restarting" | "removing" | "exited"
            | "dead" | "stopping") => known,
            _ => "",
        };
        *status = Value::String(word.to_owned());
    }
    // By way of text: reading it from values would be compiled a second time, for all that a container has.
    understood(answer.to_string().as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use super::*;

    #[test]
    fn states_are_dockers() {
        for (status, state) in [
            ("stopped", "exited"),
            ("running", "running"),
            ("initialized", "created"),
            ("odd", ""),
        ] {
            let answer = serde_json::json!({ "Id": "0f", "State": { "Status": status } });
            let state_of = inspected(answer).unwrap().state.unwrap().status.unwrap();
            assert_eq!(state_of.to_string(), state);
        }
        inspected(serde_json::json!({ "State": 7 })).unwrap_err();
    }

    #[test]
    fn dockers_words_stay_as_they_are() {
        for (status, message) in [
            (404, "No such container: web"),
            (500, "that name is already in use by somebody"),
            (500, "anything"),
            (409, "x: container state improper"),
        ] {
            let same = (status, message.to_owned());
            assert_eq!(translated(status, message.to_owned()), same);
        }
        let improper =
            "can only kill running containers. 0f is in state exited: container state improper";
        assert_eq!(translated(500, improper.to_owned()).0, 409);
    }
}
