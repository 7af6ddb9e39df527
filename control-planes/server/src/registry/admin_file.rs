//! The administrator's token in the data directory, for the command line on the same machine.
//!
//! Whoever may read the file may do everything; whoever may write the directory owns the state anyway.
//! When the file is lost, or its token was revoked, the next start makes a new one. The token of a
//! lost file stays valid until it is revoked.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{Registry, RegistryError, Secret};
use crate::store::{StoreError, TokenKind, sync_dir};

impl Registry {
    /// Makes sure that `file` holds a valid administrator's token. `true` when a new one was made.
    pub async fn ensure_admin_file(self: &Arc<Self>, file: &Path) -> Result<bool, RegistryError> {
        let failed = |source| StoreError::Directory {
            path: file.to_owned(),
            source,
        };
        let path = file.to_owned();
        let text = blocking(move || read(&path)).await.map_err(failed)?;
        let known = text.is_some_and(|text| {
            let token = Some(text.trim());
            self.tokens
                .authenticate(token, TokenKind::Admin, SystemTime::now())
                .is_ok()
        });
        if known {
            return Ok(false);
        }
        // Known to the store first: a file whose token is not known would lock everybody out.
        let (_, secret) = self
            .create_token(TokenKind::Admin, "admin-token file")
            .await?;
        let path = file.to_owned();
        blocking(move || write(&path, &secret))
            .await
            .map_err(failed)?;
        Ok(true)
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file.set_permissions(Permissions::from_mode(0o600))?;
    let mut bytes = Vec::new();
    file.take(1024).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).ok())
}

/// The whole file or none: written beside it, synchronised, then renamed.
fn write(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}
