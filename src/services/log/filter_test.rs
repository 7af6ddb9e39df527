//! Lines that are wanted.

use bytes::Bytes;

use super::*;

fn filter(include: &[&str], exclude: &[&str], min_level: LogLevel) -> Result<Filter, Status> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let filter = LogFilter {
        include: owned(include),
        exclude: owned(exclude),
        min_level: min_level.into(),
    };
    Filter::parse(Some(filter), false)
}

/// The contents that pass, of lines and pieces ("…" goes on).
fn passed(filter: Filter, lines: &[&str]) -> Vec<String> {
    let mut judge = Judge::new(Arc::new(filter));
    let mut passed = Vec::new();
    let mut give = |line: Line, _, wanted: bool| {
        if wanted {
            passed.push(String::from_utf8_lossy(&line.content).into_owned());
        }
    };
    for text in lines {
        let (content, partial) = match text.strip_suffix('…') {
            Some(content) => (content, true),
            None => (*text, false),
        };
        let line = Line {
            time: 1,
            stderr: false,
            content: Bytes::copy_from_slice(content.as_bytes()),
            partial,
        };
        judge.judge(0, line, &mut give);
    }
    judge.finish(0, &mut give);
    assert_eq!((judge.parts, judge.held, judge.open.len()), (0, 0, 0));
    passed
}

#[test]
fn patterns_choose_lines() {
    let any = LogLevel::Unspecified;
    let lines = ["GET /a 200", "GET /b 500", "POST /a 500", "größe"];
    let pass =
        |include: &[&str], exclude: &[&str]| passed(filter(include, exclude, any).unwrap(), &lines);
    assert_eq!(pass(&[], &[]), lines);
    assert_eq!(pass(&["500"], &["^GET"]), ["POST /a 500"]);
    assert_eq!(pass(&["/b", "gr\\w+e"], &[]), ["GET /b 500", "größe"]);
    assert_eq!(pass(&["(?i)get", "GRÖSSE"], &["\\b200\\b"]), ["GET /b 500"]);
}

#[test]
fn a_line_in_pieces_is_judged_as_one() {
    let any = LogLevel::Unspecified;
    let lines = [
        "a nee…",
        "dle…",
        " in it",
        "none…",
        " here",
        "x needle",
        "needle at the end…",
    ];
    assert_eq!(
        passed(filter(&["needle"], &[], any).unwrap(), &lines),
        ["a nee", "dle", " in it", "x needle", "needle at the end"]
    );
    // Longer than what is looked at: its first part decides, and nothing more is held.
    let long = format!("{}…", "x".repeat(JUDGED));
    let lines = [long.as_str(), "needle…", "", "needle"];
    assert_eq!(
        passed(filter(&["needle"], &[], any).unwrap(), &lines),
        ["needle"]
    );
    assert_eq!(
        passed(filter(&[], &["needle"], any).unwrap(), &lines).len(),
        3
    );
}

#[test]
fn levels_choose_lines_with_their_stack_traces() {
    let lines = [
        "INFO started",
        "ERROR failed",
        "    at a.b.C(C.java:1)",
        "Caused by: x",
        "what is this",
        "  indented",
        "WARN careful",
        "Traceback (most recent call last):",
        "  File \"a\"",
        "ValueError: x",
        "next",
    ];
    let pass = |level| passed(filter(&[], &[], level).unwrap(), &lines);
    assert_eq!(pass(LogLevel::Warn), [&lines[1..4], &lines[6..10]].concat());
    assert_eq!(pass(LogLevel::Error), lines[1..4]);
    assert_eq!(pass(LogLevel::Unspecified).len(), lines.len());
}

#[test]
fn wrong_patterns_are_told_with_their_place() {
    let any = LogLevel::Unspecified;
    let wrong = |pattern: &str| {
        filter(&[pattern], &[], any)
            .unwrap_err()
            .message()
            .to_owned()
    };
    assert!(
        wrong("ab(c").contains("character 3: unclosed group"),
        "{}",
        wrong("ab(c")
    );
    assert!(
        wrong("a{2,1}").contains("character 2"),
        "{}",
        wrong("a{2,1}")
    );
    assert!(wrong(r"\pX").contains("character 1"), "{}", wrong(r"\pX"));
    assert!(
        wrong(r"(\w{500}){500}").contains("too much"),
        "{}",
        wrong(r"(\w{500}){500}")
    );
    assert!(wrong(&"a".repeat(5000)).contains("4096 bytes"));
    assert!(wrong(&"(".repeat(1000)).contains("character"));
    let many = vec!["a"; 33];
    assert!(
        filter(&many, &[], any)
            .unwrap_err()
            .message()
            .contains("32")
    );
    let level = LogFilter {
        min_level: 99,
        ..LogFilter::default()
    };
    assert!(Filter::parse(Some(level), false).is_err());
}
