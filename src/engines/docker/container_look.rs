//! What can be seen of a container: its processes, what it has changed, its files, the engine's own words.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;

use super::{
    ask::{Ask, escaped, nullable, understood},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerPath, ContainerRef, PsColumn},
    stream::{Stream, StreamRequest},
    time,
};

/// Processes: titles, and as many values for each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Processes {
    #[serde(deserialize_with = "nullable")]
    pub titles: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub processes: Vec<Vec<String>>,
}

/// A file that a container has changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct FileChange {
    pub path: String,
    /// 0: modified, 1: added, 2: deleted.
    pub kind: u8,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    File,
    Directory,
    Link,
    Other,
}

/// A file in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FileStat {
    pub name: String,
    pub kind: FileType,
    pub bytes: u64,
    /// Twelve bits, as of chmod.
    pub mode: u32,
    /// Nanoseconds since the Unix epoch.
    pub modified: Option<i64>,
    pub link_target: String,
}

impl Engine {
    /// The engine's own JSON about a container, values of environment variables hidden unless they are wanted.
    pub async fn container_json(
        &self,
        container: &ContainerRef,
        values: bool,
    ) -> Result<Vec<u8>, Error> {
        let path = format!("/containers/{container}/json");
        let subject = Subject::Container(container.as_str());
        let content = self.ask_bytes(Ask::get(&path, subject)).await?;
        if values {
            return Ok(content.to_vec());
        }
        let mut json: Value = understood(&content)?;
        hide_values(&mut json);
        Ok(json.to_string().into_bytes())
    }

    /// Processes of a container: these columns of them, or what `ps -ef` shows.
    pub async fn processes(
        &self,
        container: &ContainerRef,
        columns: &[PsColumn],
    ) -> Result<Processes, Error> {
        let arguments = if columns.is_empty() {
            "-ef".to_owned()
        } else {
            let columns: Vec<_> = columns.iter().map(PsColumn::as_str).collect();
            format!("-eo {}", columns.join(","))
        };
        let path = format!("/containers/{container}/top?ps_args={}", escaped(arguments));
        let subject = Subject::Container(container.as_str());
        match self.ask(Ask::get(&path, subject)).await {
            // A word that ps does not know; the engine calls that a failure of its own.
            Err(Error::Failed {
                status: 500,
                message,
            }) if message.starts_with("ps:") => Err(Error::Rejected { message }),
            asked => asked,
        }
    }

    /// What a container has changed, in as much time as the engine needs.
    pub async fn file_changes(&self, container: &ContainerRef) -> Result<Vec<FileChange>, Error> {
        let path = format!("/containers/{container}/changes");
        let subject = Subject::Container(container.as_str());
        let changes: Option<Vec<FileChange>> = self.ask(Ask::get(&path, subject).long()).await?;
        Ok(changes.unwrap_or_default())
    }

    /// Tells of a file.
    pub async fn file_stat(
        &self,
        container: &ContainerRef,
        file: &ContainerPath,
    ) -> Result<FileStat, Error> {
        let path = format!(
            "/containers/{container}/archive?path={}",
            escaped(file.as_bytes())
        );
        let request = StreamRequest {
            method: "HEAD",
            path: &path,
            body: "",
            upgrade: false,
            subject: Subject::Container(container.as_str()),
            deadline: self.deadlines().call,
        };
        let opened = Stream::open(self.transport(), request).await;
        self.probe_while_away();
        match opened {
            Ok(stream) => stat(stream.path_stat()),
            // An answer without content does not say what there is none of.
            Err(Error::Failed { status: 404, .. }) => {
                self.container(container).await?;
                Err(no_file(container, file))
            }
            Err(error) => Err(error),
        }
    }
}

/// There is no such file.
pub(super) fn no_file(container: &ContainerRef, file: &ContainerPath) -> Error {
    Error::PathNotFound {
        container: container.to_string(),
        path: file.to_string(),
    }
}

/// Reads what the engine says of a file, in a header.
pub(super) fn stat(header: Option<&[u8]>) -> Result<FileStat, Error> {
    #[derive(Deserialize)]
    struct Told {
        name: String,
        #[serde(default)]
        size: i64,
        #[serde(default)]
        mode: u32,
        #[serde(default)]
        mtime: String,
        #[serde(default, rename = "linkTarget")]
        link_target: String,
    }
    let missing = || Error::Protocol("it does not say what the file is".to_owned());
    let json = BASE64_STANDARD.decode(header.ok_or_else(missing)?);
    let told: Told = understood(&json.map_err(|_| missing())?)?;
    let bit = |number: u32| told.mode & 1 << number != 0;
    // Go's own bits.
    let kind = match () {
        () if bit(31) => FileType::Directory,
        () if bit(27) => FileType::Link,
        () if bit(26) || bit(25) || bit(24) || bit(21) => FileType::Other,
        () => FileType::File,
    };
    let special = [(23, 0o4000), (22, 0o2000), (20, 0o1000)];
    let special = special.iter().filter(|(number, _)| bit(*number));
    Ok(FileStat {
        kind,
        bytes: u64::try_from(told.size).unwrap_or(0),
        mode: special.map(|(_, mode)| mode).sum::<u32>() | told.mode & 0o777,
        modified: time::parse(told.mtime.as_bytes()),
        name: told.name,
        link_target: told.link_target,
    })
}

/// Empties the values of environment variables.
fn hide_values(json: &mut Value) {
    let variables = json
        .pointer_mut("/Config/Env")
        .and_then(Value::as_array_mut);
    for variable in variables.into_iter().flatten() {
        if let Value::String(text) = variable
            && let Some(end) = text.find('=')
        {
            text.truncate(end + 1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn gos_bits_are_understood() {
        let of = |mode: u32| {
            let json = format!(
                "{{\"name\":\"x\",\"size\":3,\"mode\":{mode},\"mtime\":\"2026-11-25T03:51:58.774968765Z\"}}"
            );
            stat(Some(BASE64_STANDARD.encode(json).as_bytes())).unwrap()
        };
        let file = of(0o644);
        assert_eq!(
            (file.kind, file.mode, file.bytes),
            (FileType::File, 0o644, 3)
        );
        assert!(file.modified.is_some());
        assert_eq!(of(1 << 31 | 1 << 20 | 0o777).mode, 0o1777);
        assert_eq!(of(1 << 31 | 0o755).kind, FileType::Directory);
        assert_eq!(of(1 << 27 | 0o777).kind, FileType::Link);
        assert_eq!(of(1 << 26 | 1 << 21 | 0o666).kind, FileType::Other);
        assert_eq!(of(1 << 23 | 0o755).mode, 0o4755);
        assert!(stat(None).is_err() && stat(Some(b"?")).is_err());
    }

    #[test]
    fn values_are_hidden_and_nothing_else() {
        let mut json: Value = serde_json::from_str(
            r#"{"Config":{"Env":["A=secret=x","B=","C"],"Cmd":["A=b"]},"Name":"/web"}"#,
        )
        .unwrap();
        hide_values(&mut json);
        let expected = r#"{"Config":{"Cmd":["A=b"],"Env":["A=","B=","C"]},"Name":"/web"}"#;
        assert_eq!(json, serde_json::from_str::<Value>(expected).unwrap());
        hide_values(&mut Value::Null);
    }
}
