//! Where Podman's Docker-compatible API says the same as Docker in other words.
//!
//! docs/podman.md lists what differs; what stands here is mended.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
