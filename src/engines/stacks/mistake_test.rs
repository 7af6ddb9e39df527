//! Messages of compose 2.40.3, and where the mistakes are.

use super::*;

fn find(message: &str, text: &str) -> (String, usize) {
    let sources = [
        Source {
            path: "/state/stacks/web/files/base.yaml".to_owned(),
            name: "base.yaml".to_owned(),
            text: "services:\n  web:\n    image: a\n  other: {}\n".to_owned(),
        },
        Source {
            path: "/state/stacks/web/files/compose.yaml".to_owned(),
            name: "compose.yaml".to_owned(),
            text: text.to_owned(),
        },
    ];
    let mistake = Mistake::find(message, &sources);
    assert!(!mistake.message.contains("/state"), "{}", mistake.message);
    (mistake.file, mistake.line)
}

fn here(line: usize) -> (String, usize) {
    ("compose.yaml".to_owned(), line)
}

#[test]
fn syntax_is_told_where_it_breaks() {
    // Compose tells where the block begins.
    let message = "failed to parse /state/stacks/web/files/compose.yaml: yaml: line 1: did not find expected key";
    assert_eq!(
        find(message, "services:\n  web:\n    image: a\n   bad: x\n"),
        here(4)
    );
    let message = "failed to parse /state/stacks/web/files/compose.yaml: yaml: line 3: found character that cannot start any token";
    assert_eq!(find(message, "services:\n  web:\n\timage: a\n"), here(3));
    let message = "failed to parse /state/stacks/web/files/compose.yaml: yaml: line 3: found a tab character that violates indentation";
    assert_eq!(
        find(message, "services:\n  web:\n    image: a\n\tbad: x\n"),
        here(4)
    );
    // What is YAML all the same is where compose says.
    let message = "failed to parse /state/stacks/web/files/compose.yaml: line 7: mapping key \"a\" already defined at line 2";
    assert_eq!(find(message, "a: 1\n"), here(7));
}

#[test]
fn ways_are_looked_up() {
    let text = "# first\nservices:\n  web:\n    image: b\n    ports: hello\n    imagee: x\n    mem_limit: lots\n    volumes:\n      - a:/a\n      - foo:/x\n  'my.db':\n    depends_on: [cache]\nvolumes: {a: 7}\n";
    for (message, line) in [
        (
            "validating /state/stacks/web/files/compose.yaml: services.web.ports must be a array",
            5,
        ),
        (
            "validating /state/stacks/web/files/compose.yaml: services.web additional properties 'imagee' not allowed",
            6,
        ),
        (
            "decoding failed due to the following error(s):\n\n'services[web].mem_limit' invalid size: 'lots'",
            7,
        ),
        (
            "service \"web\" refers to undefined volume foo: invalid compose project",
            8,
        ),
        (
            "service \"my.db\" depends on undefined service \"cache\": invalid compose project",
            12,
        ),
        ("services.web.volumes.1 is odd", 10),
        ("services.web.volumes.1.source is odd", 10),
        (
            "validating /state/stacks/web/files/compose.yaml: volumes.a must be a mapping",
            13,
        ),
        (
            "invalid interpolation format for services.web.image.\nYou may",
            4,
        ),
        ("invalid size: lots", 7),
    ] {
        assert_eq!(find(message, text), here(line), "{message}");
    }
    // The file that has most of the way.
    let (file, line) = find(
        "service \"other\" has neither an image nor a build context specified",
        text,
    );
    assert_eq!((file.as_str(), line), ("base.yaml", 4));
    assert_eq!(
        find("top-level object must be a mapping", "- 1\n"),
        (String::new(), 0)
    );
}

#[test]
fn hostile_files_are_read_in_bounds() {
    let deep = "[".repeat(200_000);
    let keys = "a: {".repeat(50_000);
    let wide = "services:\n".to_owned() + &"  web: {image: a}\n".repeat(50_000);
    let odd = "? [a]\n: b\n? {c: d}\n: e\n\u{0}\u{feff}&a *a\n---\n...\n";
    for text in [deep.as_str(), &keys, &wide, odd, "", "\u{fffd}"] {
        find("services.web.image is odd", text);
        find(
            "failed to parse /state/stacks/web/files/compose.yaml: x",
            text,
        );
    }
}
