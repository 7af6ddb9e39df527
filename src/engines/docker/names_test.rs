//! Whatever parses stands in a URL path as it is; everything else is refused.

use super::*;
use proptest::prelude::*;

const HOSTILE: &[&str] = &[
    "",
    ".",
    "..",
    "../volumes/x",
    "../plugins/evil/enable?timeout=1",
    "a?b#c",
    "a/b",
    "a b",
    "a\n",
    "a\r\nHost: x",
    "a\0",
    "%2e%2e",
    "a%2fb",
    "-a",
    "_a",
    "é",
    "aé",
    "a\u{202e}b",
    "a:b@c",
];

#[test]
fn hostile_names_are_refused_with_the_mend() {
    let long = "a".repeat(256);
    for text in HOSTILE.iter().copied().chain([long.as_str()]) {
        let error = text.parse::<ContainerRef>().unwrap_err();
        assert!(error.to_string().contains("use letters"), "{error}");
        assert!(text.parse::<ContainerName>().is_err(), "{text:?}");
        assert!(text.parse::<NetworkName>().is_err(), "{text:?}");
        assert!(text.parse::<ExecId>().is_err(), "{text:?}");
    }
    for text in HOSTILE.iter().copied().filter(|text| *text != "a/b") {
        assert!(text.parse::<ImageRef>().is_err(), "{text:?}");
    }
    let error = "x/".repeat(1000).parse::<ContainerRef>().unwrap_err();
    assert!(error.to_string().len() < 450, "{error}");
}

#[test]
fn images_are_named_as_registries_do() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    for text in [
        "busybox",
        "turbopanel/test:busybox",
        "localhost/a:b",
        "registry.example:5000/team/app:1.2-rc_3",
        "106a0683a7ca",
        &digest,
        &format!("app@{digest}"),
        &format!("r.example/app:v1@{digest}"),
        "a__b/c--d.e",
    ] {
        assert_eq!(text.parse::<ImageRef>().unwrap().as_str(), text);
    }
    for text in [
        "Upper",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:-b",
        "a@sha256:1",
        "a..b",
        "a/../b",
        "r.example:0/a",
        "r.example:99999/a",
        "a___b",
        "a@",
        "http://a/b",
    ] {
        assert!(text.parse::<ImageRef>().is_err(), "{text}");
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, said in another way than the parser says it.
fn regular(text: &str) -> bool {
    let mut chars = text.chars();
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9');
    let first: Vec<char> = letters.collect();
    chars.next().is_some_and(|char| first.contains(&char))
        && chars.all(|char| first.contains(&char) || "_.-".contains(char))
}

proptest! {
    /// Texts that are nearly names: each character that could lead elsewhere has its chance.
    #[test]
    fn exactly_the_names_of_the_grammar_parse(text in "[a-zA-Z0-9_.-]{0,3}[aZ0_./%?#:@&= \\\\\\x00\n\u{e9}-]{0,3}[a-z0-9]{0,2}") {
        let is_name = regular(&text);
        prop_assert_eq!(text.parse::<ContainerRef>().is_ok(), is_name);
        prop_assert_eq!(text.parse::<NetworkName>().is_ok(), is_name);
        prop_assert_eq!(text.parse::<ContainerName>().is_ok(), is_name && text.len() >= 2);
        if is_name {
            let path = format!("/v1.41/containers/{text}/json");
            let uri: http::Uri = format!("http://engine{path}").parse().unwrap();
            prop_assert_eq!(uri.path(), path.as_str());
            prop_assert_eq!(uri.query(), None);
            prop_assert!(path.split('/').count() == 5 && !path.split('/').any(|part| part == ".."));
        }
    }

    #[test]
    fn good_names_parse(text in "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}") {
        prop_assert!(text.parse::<ContainerRef>().is_ok());
        prop_assert!(text.parse::<ContainerName>().is_ok());
        prop_assert!(text.parse::<NetworkName>().is_ok());
    }

    #[test]
    fn images_never_leave_their_path(text in "[a-zA-Z0-9/._:@-]{0,24}|\\PC{0,8}") {
        if let Ok(image) = text.parse::<ImageRef>() {
            let path = format!("/v1.41/images/{image}/json");
            let uri: http::Uri = format!("http://engine{path}").parse().unwrap();
            prop_assert_eq!(uri.path(), path.as_str());
            prop_assert!(path.split('/').all(|part| !part.is_empty() && part != "." && part != "..") || path.starts_with('/'));
            prop_assert!(!image.as_str().split('/').any(|part| part.is_empty() || part == "." || part == ".."));
        }
    }
}
