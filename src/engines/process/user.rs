//! Users of the host, as /etc/passwd lists them (passwd(5)).

use std::{
    io,
    path::{Path, PathBuf},
};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The shell.
    pub shell: String,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name or number is not listed.
    #[error("there is no user {user} on the host")]
    NotFound {
        /// As it was asked for.
        user: String,
    },
    /// The list cannot be read.
    #[error("the host's users cannot be read from /etc/passwd: {0}")]
    Unreadable(#[from] io::Error),
}

impl User {
    /// Finds a user by name or number; none means the one whose process this is.
    pub fn find(wanted: Option<&str>, passwd: &Path) -> Result<Self, UserError> {
        let text = std::fs::read_to_string(passwd);
        let Some(wanted) = wanted else {
            let uid = rustix::process::geteuid().as_raw();
            let listed = text
                .ok()
                .and_then(|text| Self::listed(&text, &uid.to_string()));
            return Ok(listed.unwrap_or_else(|| Self::unlisted(uid)));
        };
        Self::listed(&text?, wanted).ok_or_else(|| UserError::NotFound {
            user: wanted.chars().take(64).collect(),
        })
    }

    /// Whoever runs a container image without a list of users.
    fn unlisted(uid: u32) -> Self {
        Self {
            name: uid.to_string(),
            uid,
            gid: rustix::process::getegid().as_raw(),
            home: PathBuf::from("/"),
            shell: "/bin/sh".to_owned(),
        }
    }

    fn listed(passwd: &str, wanted: &str) -> Option<Self> {
        let users: Vec<Self> = passwd.lines().filter_map(Self::parse).collect();
        let number = wanted.parse().ok();
        let found = users.iter().find(|user| user.name == wanted);
        found
            .or_else(|| users.iter().find(|user| Some(user.uid) == number))
            .cloned()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = PathBuf::from(fields.nth(1)?);
        let shell = fields
            .next()
            .filter(|shell| !shell.is_empty())
            .unwrap_or("/bin/sh")
            .to_owned();
        Some(Self {
            name,
            uid,
            gid,
            home,
            shell,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use super::*;

    const LIST: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nweb:x:1001:33::/srv/web:\n7:x:8:8::/:/bin/sh\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(User::listed(LIST, "root").unwrap().uid, 0);
        let web = User::listed(LIST, "1001").unwrap();
        assert_eq!(
            (web.name.as_str(), web.gid, web.shell.as_str()),
            ("web", 33, "/bin/sh")
        );
        assert_eq!(
            User::listed(LIST, "7").unwrap().uid,
            8,
            "a name goes before a number"
        );
        assert!(User::listed(LIST, "nobody").is_none());
    }
}
