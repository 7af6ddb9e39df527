//! What errors about images, and about containers on new images, become.

use tonic::Code;

use super::Told;
use crate::{engines::docker, proto::ErrorReason};

/// What a container that was not recreated becomes.
pub(super) fn recreate(error: docker::recreate::RecreateError) -> Told {
    use docker::recreate::RecreateError as E;
    match error {
        E::Unhealthy { container, .. } => (
            Code::FailedPrecondition,
            ErrorReason::ContainerUnhealthy,
            vec![("container", container)],
        ),
        E::NotRolledBack {
            container,
            old,
            new,
            ..
        } => (
            Code::Internal,
            ErrorReason::RollbackFailed,
            vec![("container", container), ("old", old), ("new", new)],
        ),
    }
}

/// What an archive that was not passed on becomes.
pub(super) fn archive(error: docker::archive::ArchiveError) -> Told {
    use docker::archive::ArchiveError as E;
    let refused = (Code::InvalidArgument, ErrorReason::ArchiveRefused);
    let mut metadata = vec![("rule", error.rule().to_owned())];
    let (code, reason) = match error {
        E::Entry { entry, .. } => {
            metadata.push(("entry", entry));
            refused
        }
        E::Compressed(_) | E::Empty | E::NotTar(_) => refused,
        E::Io(_) => {
            metadata.clear();
            (Code::Cancelled, ErrorReason::UploadIncomplete)
        }
    };
    (code, reason, metadata)
}

/// What an error about an image becomes.
pub(super) fn image(error: docker::image_error::ImageError) -> Told {
    use docker::image_error::ImageError as E;
    let at = |registry, image| vec![("registry", registry), ("image", image)];
    match error {
        E::NotInRegistry {
            registry, image, ..
        } => (
            Code::NotFound,
            ErrorReason::ImageNotFound,
            at(registry, image),
        ),
        E::Denied {
            registry, image, ..
        } => (
            Code::PermissionDenied,
            ErrorReason::RegistryDenied,
            at(registry, image),
        ),
        E::Unreachable {
            registry, image, ..
        } => (
            Code::Unavailable,
            ErrorReason::RegistryUnreachable,
            at(registry, image),
        ),
        E::Broken {
            registry, image, ..
        } => (
            Code::Internal,
            ErrorReason::RegistryFailed,
            at(registry, image),
        ),
        E::NoSpace { .. } => (Code::ResourceExhausted, ErrorReason::NoSpace, Vec::new()),
        E::InUse { image, .. } => (
            Code::FailedPrecondition,
            ErrorReason::ImageInUse,
            vec![("image", image)],
        ),
        E::Quiet { limit } => (
            Code::DeadlineExceeded,
            ErrorReason::EngineQuiet,
            vec![("quiet_limit", format!("{} s", limit.as_secs()))],
        ),
        E::BuildFailed { exit_code, .. } => (
            Code::FailedPrecondition,
            ErrorReason::BuildFailed,
            exit_code
                .map(|code| ("exit_code", code.to_string()))
                .into_iter()
                .collect(),
        ),
        E::OutcomeUnknown { image } => (
            Code::Unknown,
            ErrorReason::OutcomeUnknown,
            vec![("image", image)],
        ),
    }
}
