//! What is taken as the files of a stack, and what is not.

use super::*;

fn content(text: &str) -> Content {
    Content {
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        executable: false,
    }
}

fn files(names: &[&str], roles: Roles) -> Result<Files, FilesError> {
    Files::new(
        names.iter().map(|name| ((*name).to_owned(), content("x"))),
        roles,
    )
}

fn roles(compose: &[&str], env: &[&str], profiles: &[&str]) -> Roles {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Roles {
        compose: owned(compose),
        env: owned(env),
        profiles: owned(profiles),
    }
}

#[test]
fn what_is_not_named_is_found() {
    let found = files(
        &["docker-compose.yml", "compose.yaml", ".env", "web.env"],
        Roles::default(),
    );
    let found = found.unwrap();
    assert_eq!(found.roles(), &roles(&["compose.yaml"], &[".env"], &[]));
    let found = files(&["compose.yml", "compose.override.yaml"], Roles::default()).unwrap();
    assert_eq!(
        found.roles().compose,
        ["compose.yml", "compose.override.yaml"]
    );
    let found = files(
        &["a.yaml", "b.yaml"],
        roles(&["b.yaml", "a.yaml"], &[], &["*", "dev"]),
    );
    assert_eq!(found.unwrap().roles().compose, ["b.yaml", "a.yaml"]);
}

#[test]
fn what_is_wrong_is_told() {
    for (names, roles, field) in [
        (&[][..], Roles::default(), "files"),
        (&["readme"], Roles::default(), "files"),
        (
            &["compose.yaml", "compose.yaml"],
            Roles::default(),
            "files.name",
        ),
        (
            &["compose.yaml", "a", "a-b", "a/b"],
            Roles::default(),
            "files.name",
        ),
        (&["compose.yaml", "../x"], Roles::default(), "files.name"),
        (
            &["compose.yaml"],
            roles(&["b.yaml"], &[], &[]),
            "files.compose_files",
        ),
        (
            &["compose.yaml"],
            roles(&["/etc/passwd"], &[], &[]),
            "files.compose_files",
        ),
        (
            &["compose.yaml"],
            roles(&["--help"], &[], &[]),
            "files.compose_files",
        ),
        (
            &["compose.yaml"],
            roles(&[], &["a.env"], &[]),
            "files.env_files",
        ),
        (
            &["compose.yaml"],
            roles(&[], &[], &["-f"]),
            "files.profiles",
        ),
        (
            &["compose.yaml"],
            roles(&[], &[], &["a"; 33]),
            "files.profiles",
        ),
    ] {
        let refused = files(names, roles).unwrap_err();
        assert_eq!(refused.field, field, "{names:?}: {refused}");
    }
    let many: Vec<String> = (0..MOST_FILES).map(|number| format!("f{number}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many.push("compose.yaml");
    assert_eq!(files(&many, Roles::default()).unwrap_err().field, "files");
    let big = content(&"x".repeat(MOST_BYTES));
    let big = [
        ("compose.yaml".to_owned(), content("x")),
        ("b".to_owned(), big),
    ];
    assert_eq!(
        Files::new(big, Roles::default()).unwrap_err().field,
        "files"
    );
}

#[test]
fn contents_do_not_show() {
    let env = content("A=short\n# no\nTOKEN=\"canary-1234\"\nLONG=canary-1234-more\nX=canary-1234");
    let sent = [
        ("compose.yaml".to_owned(), content("canary")),
        ("db.env".to_owned(), env),
        ("web.conf".to_owned(), content("x")),
    ];
    let files = Files::new(sent, Roles::default()).unwrap();
    assert!(!format!("{files:?}").contains("canary"));
    assert_eq!(files.secrets(), ["canary-1234-more", "canary-1234"]);
    let private: Vec<bool> = files
        .iter()
        .map(|(name, _)| files.is_private(name))
        .collect();
    assert_eq!(private, [true, true, false]);
}
