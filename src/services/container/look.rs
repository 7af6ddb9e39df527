//! Between what can be seen of a container and the contract.

use tonic::Status;

use crate::{
    engines::docker::{
        container_look::{FileChange, FileStat, FileType, Processes},
        names::ContainerPath,
    },
    proto::{self, container_change::Kind, stat_container_path_response::Type},
    services::{error::invalid, time::timestamp},
};

/// Processes that are told, at most, and bytes of all of them.
const PROCESSES: usize = 10_000;
const PROCESSES_BYTES: usize = 3 << 20;
/// Changes in one message, in bytes, about.
const BATCH: usize = 512 << 10;

pub(super) fn processes(seen: Processes) -> proto::TopContainerResponse {
    let mut bytes = 0;
    let fitting = seen
        .processes
        .into_iter()
        .take(PROCESSES)
        .take_while(|values| {
            bytes += 16 + values.iter().map(|value| value.len() + 4).sum::<usize>();
            bytes <= PROCESSES_BYTES
        });
    proto::TopContainerResponse {
        titles: seen.titles,
        processes: fitting
            .map(|values| proto::ContainerProcess { values })
            .collect(),
    }
}

/// Changes in messages.
pub(super) fn changes(
    mut changes: Vec<FileChange>,
) -> impl Iterator<Item = proto::ListContainerChangesResponse> {
    changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut changes = changes.into_iter().peekable();
    std::iter::from_fn(move || {
        changes.peek()?;
        let mut bytes = 0;
        let batch = std::iter::from_fn(|| {
            let next = changes.next_if(|_| bytes < BATCH)?;
            bytes += next.path.len() + 8;
            Some(proto::ContainerChange {
                kind: match next.kind {
                    0 => Kind::Modified,
                    1 => Kind::Added,
                    2 => Kind::Deleted,
                    _ => Kind::Unspecified,
                }
                .into(),
                path: next.path,
            })
        });
        let changes = batch.collect();
        Some(proto::ListContainerChangesResponse { changes })
    })
}

/// The field `path` of a request.
pub(super) fn path(path: Option<proto::ContainerPath>) -> Result<ContainerPath, Status> {
    use proto::container_path::Path;
    let path = path.and_then(|path| path.path);
    let bytes = match &path {
        Some(Path::Text(text)) => text.as_bytes(),
        Some(Path::Raw(raw)) => raw,
        None => b"",
    };
    ContainerPath::parse(bytes)
        .map_err(|wrong| invalid("path", &String::from_utf8_lossy(bytes), wrong))
}

pub(super) fn stat(stat: FileStat) -> proto::StatContainerPathResponse {
    proto::StatContainerPathResponse {
        name: stat.name,
        r#type: match stat.kind {
            FileType::File => Type::File,
            FileType::Directory => Type::Directory,
            FileType::Link => Type::Link,
            FileType::Other => Type::Unspecified,
        }
        .into(),
        size_bytes: stat.bytes,
        mode: stat.mode,
        modified_at: stat.modified.map(timestamp),
        link_target: stat.link_target,
    }
}
