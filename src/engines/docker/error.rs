//! What can go wrong with the engine, in the engine's terms. Messages show excerpts of what came from
//! outside; the fields hold it whole.

use super::{
    archive::ArchiveError,
    image_build::BuildCall,
    image_error::{self, ImageError},
    podman,
    recreate::RecreateError,
    registry::RegistryCall,
    things::{Kind, Thing},
    version::ApiVersion,
};
pub(super) use crate::excerpt::chain;
use crate::excerpt::{SENTENCE, VALUE, excerpt};

/// An error of the container engine or on the way to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answered, or not in time, or the connection broke.
    #[error(
        "the container engine at {address} does not answer ({}): start it, or set DOCKER_HOST to where it listens",
        excerpt(cause, SENTENCE)
    )]
    Unreachable {
        /// The engine's address.
        address: String,
        /// What was seen.
        cause: String,
    },
    /// The request was sent, and no answer came: what the engine did is not known.
    #[error(
        "the container engine at {address} did not answer ({}): look at its log, or start it again",
        excerpt(cause, SENTENCE)
    )]
    NoAnswer {
        /// The engine's address.
        address: String,
        /// What was seen.
        cause: String,
    },
    /// The socket is there, but this process may not use it.
    #[error(
        "the agent may not use the container engine at {address}: run it as root or in the group that owns the socket (in a container: -v /var/run/docker.sock:/var/run/docker.sock and --group-add with that group's id)"
    )]
    AccessDenied {
        /// The engine's address.
        address: String,
    },
    /// The engine knows no such container.
    #[error("there is no container {container}: list the containers to see their names")]
    ContainerNotFound {
        /// As it was asked for.
        container: String,
    },
    /// The beginning of an id fits more than one container.
    #[error("{container} is the beginning of more than one container's id: give more of it")]
    Ambiguous {
        /// As it was asked for.
        container: String,
    },
    /// The image is not on the host.
    #[error(
        "there is no image {} on the host: pull it or import it first",
        excerpt(image, VALUE)
    )]
    ImageNotFound {
        /// As it was asked for.
        image: String,
    },
    /// The engine knows no such network.
    #[error(
        "there is no network {} on the host: create it first, or leave it empty",
        excerpt(network, VALUE)
    )]
    NetworkNotFound {
        /// As it was asked for.
        network: String,
    },
    /// Another container has the name.
    #[error("another container has the name {name}: remove that one, or choose another name")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// The container's state does not allow what was asked for.
    #[error(
        "the state of container {container} does not allow this: {}",
        excerpt(message, SENTENCE)
    )]
    StateConflict {
        /// As it was asked for.
        container: String,
        /// The engine's words.
        message: String,
    },
    /// The engine found the request wrong.
    #[error(
        "the container engine found the request wrong: {}",
        excerpt(message, SENTENCE)
    )]
    Rejected {
        /// The engine's words.
        message: String,
    },
    /// The engine did not answer in time, and what it did could not be observed.
    #[error(
        "the engine did not answer in time about container {container}; it may still do what was asked: look at the container before you try again"
    )]
    OutcomeUnknown {
        /// As it was asked for.
        container: String,
        /// What was observed afterwards. Empty when nothing could be.
        observed: String,
    },
    /// The log driver keeps nothing.
    #[error(
        "container {container} uses the log driver {}, which keeps nothing to read: create it again with json-file, local or journald",
        excerpt(driver, VALUE)
    )]
    LogsNotReadable {
        /// As it was asked for.
        container: String,
        /// The driver.
        driver: String,
    },
    /// More containers are selected than logs can be merged.
    #[error(
        "more than {most} containers are selected: select fewer, by labels, by project or by name"
    )]
    TooManyContainers {
        /// The most.
        most: usize,
    },
    /// The last lines of several logs do not fit into what is kept to merge them.
    #[error("the last lines have more than {most} bytes: ask for fewer, or by `since`")]
    TailTooLong {
        /// The most, in bytes.
        most: usize,
    },
    /// The container has no such program.
    #[error(
        "there is no program {} in container {container}",
        excerpt(program, VALUE)
    )]
    ProgramNotFound {
        /// The program.
        program: String,
        /// The container.
        container: String,
    },
    /// The program may not be executed.
    #[error(
        "{} in container {container} may not be executed",
        excerpt(program, VALUE)
    )]
    ProgramDenied {
        /// The program.
        program: String,
        /// The container.
        container: String,
    },
    /// The container has no such user.
    #[error("there is no user {} in container {container}", excerpt(user, VALUE))]
    UserNotFound {
        /// The user.
        user: String,
        /// The container.
        container: String,
    },
    /// The container has no such directory.
    #[error(
        "there is no directory {} in container {container}",
        excerpt(directory, VALUE)
    )]
    DirectoryNotFound {
        /// The directory.
        directory: String,
        /// The container.
        container: String,
    },
    /// No way was found to reach the processes of an exec.
    #[error(
        "the command in container {container} could not be signalled: its process {pid} is not visible to the agent, and {}; share the host's process namespace with the agent (--pid=host)",
        excerpt(cause, SENTENCE)
    )]
    SignalUndelivered {
        /// The container.
        container: String,
        /// The process's id on the engine's host.
        pid: u32,
        /// Why the other way failed.
        cause: String,
    },
    /// The engine knows no such network or volume.
    #[error("there is no {kind} {name}: list the {kind}s to see their names")]
    NotThere {
        /// Of what kind.
        kind: Kind,
        /// As it was asked for.
        name: String,
    },
    /// Another network or volume has the name.
    #[error("another {kind} has the name {name}: remove that one, or choose another name")]
    Taken {
        /// Of what kind.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Containers use the network or the volume.
    #[error("{kind} {name} is in use: {}", excerpt(message, SENTENCE))]
    InUse {
        /// Of what kind.
        kind: Kind,
        /// As it was asked for.
        name: String,
        /// The engine's words.
        message: String,
    },
    /// The engine does not allow it as things are.
    #[error(
        "the container engine does not allow this: {}",
        excerpt(message, SENTENCE)
    )]
    NotAllowed {
        /// The engine's words.
        message: String,
    },
    /// The container has no such file.
    #[error("there is no {} in container {container}", excerpt(path, VALUE))]
    PathNotFound {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// The engine is too old.
    #[error(
        "{what} needs an engine with API {needs} or newer, and this one speaks {api}: update the engine, or leave it out"
    )]
    TooOld {
        /// What was asked for.
        what: &'static str,
        /// The oldest version that has it.
        needs: ApiVersion,
        /// What is spoken.
        api: ApiVersion,
    },
    /// An archive was not passed on.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The caller asked to end what it had begun.
    #[error("it was ended while it ran, and taken back")]
    Ended,
    /// A container was not recreated.
    #[error(transparent)]
    Recreate(#[from] RecreateError),
    /// About an image, or a registry.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// The engine failed for a reason of its own.
    #[error(
        "the container engine failed with status {status}: {}",
        excerpt(message, SENTENCE)
    )]
    Failed {
        /// The HTTP status, 0 when it was inside an answer.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine's answer makes no sense.
    #[error("the answer of the container engine could not be understood: {}", excerpt(.0, SENTENCE))]
    Protocol(String),
}

/// What a call was about, to say which thing an engine's 404 or 409 means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// One container.
    Container(&'a str),
    /// A new container.
    Creation {
        name: Option<&'a str>,
        image: &'a str,
        network: Option<&'a str>,
    },
    /// A network, a volume, or a container's place on a network.
    Thing(Thing<'a>),
    /// An image on the host.
    Image(&'a str),
    /// Something that the engine does with a registry.
    Registry(&'a RegistryCall<'a>),
    /// A build.
    Build(&'a BuildCall),
    /// The engine as a whole.
    Engine,
}

impl Error {
    pub(super) fn from_status(status: u16, message: &str, subject: Subject<'_>) -> Self {
        if let Subject::Registry(call) = subject {
            return call.failed(status, message);
        }
        if let Subject::Build(call) = subject {
            return call.failed(status, message);
        }
        let (status, message) = podman::translated(status, clean(message));
        let ambiguous = message.contains("multiple IDs found with provided prefix");
        match (subject, status) {
            (Subject::Container(container), _) if ambiguous => Self::Ambiguous {
                container: container.to_owned(),
            },
            (Subject::Image(image), _) => image_error::refused(image, status, message),
            (Subject::Thing(thing), _) => thing.refused(status, message),
            // An image's or a container's name may hold any of these words.
            (Subject::Creation { network, .. }, 404)
                if message.contains("network") && !message.starts_with("No such image") =>
            {
                Self::NetworkNotFound {
                    network: network.unwrap_or("default").to_owned(),
                }
            }
            (Subject::Creation { image, .. }, 404) => Self::ImageNotFound {
                image: image.to_owned(),
            },
            (
                Subject::Creation {
                    name: Some(name), ..
                },
                409,
            ) => Self::NameInUse {
                name: name.to_owned(),
            },
            (Subject::Container(container), 404) if message.contains("No such container") => {
                Self::ContainerNotFound {
                    container: container.to_owned(),
                }
            }
            (Subject::Container(_), 404) if message.starts_with("network ") => {
                let network = message.split(' ').nth(1).unwrap_or_default().to_owned();
                Self::NetworkNotFound { network }
            }
            (Subject::Container(container), 409) => Self::StateConflict {
                container: container.to_owned(),
                message,
            },
            (_, 400) => Self::Rejected { message },
            (Subject::Container(_), 403) => Self::NotAllowed { message },
            _ => image_error::failed(status, message),
        }
    }

    pub(super) fn from_bollard(
        error: bollard::errors::Error,
        address: &str,
        subject: Subject<'_>,
    ) -> Self {
        use bollard::errors::Error as Bollard;
        match error {
            Bollard::DockerResponseServerError {
                status_code,
                message,
            } => Self::from_status(status_code, &message, subject),
            // The transport's own errors travel through bollard inside an io::Error.
            Bollard::IOError { err } => match err.downcast::<Self>() {
                Ok(own) => own,
                Err(err) => Self::no_answer(address, err.to_string()),
            },
            Bollard::HyperResponseError { err } => Self::no_answer(address, chain(&err)),
            Bollard::RequestTimeoutError => Self::no_answer(address, "no answer in time"),
            other => Self::Protocol(clean(&other.to_string())),
        }
    }

    pub(super) fn unreachable(address: &str, cause: impl Into<String>) -> Self {
        Self::Unreachable {
            address: address.to_owned(),
            cause: cause.into(),
        }
    }

    pub(super) fn no_answer(address: &str, cause: impl Into<String>) -> Self {
        Self::NoAnswer {
            address: address.to_owned(),
            cause: cause.into(),
        }
    }
}

/// The engine's words, fit for one sentence: no control characters, not too long.
pub(super) fn clean(message: &str) -> String {
    excerpt(message.trim(), SENTENCE)
}

#[cfg(test)]
#[path = "error_test.rs"]
mod tests;
