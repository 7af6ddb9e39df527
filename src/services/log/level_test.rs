//! The forms in which programs say how much a line matters.

use proptest::prelude::*;

use super::*;

#[test]
fn the_common_forms_are_known() {
    use LogLevel::{Debug, Error, Fatal, Info, Trace, Warn};
    for (line, level) in [
        (r#"{"level":"error","msg":"x"}"#, Error),
        (
            r#"{"msg":"\"level\":\"debug\"","a":{"level":"info"},"severity" : "WARNING"}"#,
            Warn,
        ),
        (r#"{"level":30,"time":1}"#, Info),
        (r#"{"name":"bunyan","level":60,"v":0}"#, Fatal),
        (r#"{"lvl":"trace"}"#, Trace),
        (r#"{"tags":["level"],"level":"crit"}"#, Fatal),
        (
            r#"{"version":"1.1","level":3,"short_message":"gelf"}"#,
            Error,
        ),
        (r#"time="2024-01-01T00:00:00Z" level=warning msg="x""#, Warn),
        ("level=debug msg=x", Debug),
        (r#"ts=1 caller=a.go:1 lvl="eror" msg=x"#, Error),
        ("2024/01/01 12:00:00 [error] 31#31: *1 open() failed", Error),
        ("[ERROR] no", Error),
        (
            "[Mon Jan 01 12:00:00.1 2024] [core:error] [pid 1] AH1",
            Error,
        ),
        (
            "2024-01-01 12:00:00,123 - my.module - ERROR - it broke",
            Error,
        ),
        (
            "2024-01-01 12:00:00.123  WARN 1 --- [main] c.e.App : x",
            Warn,
        ),
        (
            "2024-01-01T12:00:00.123456Z  INFO mycrate::module: started",
            Info,
        ),
        ("INFO:root:hello", Info),
        ("ERROR 1 of 2", Error),
        ("error: cannot find", Error),
        ("panic: runtime error: index out of range", Fatal),
        (
            "E0102 15:04:05.678901       1 controller.go:114] failed",
            Error,
        ),
        ("I20240102 15:04:05.678901  1 file.cc:1] hello", Info),
        ("<3>kernel says", Error),
        ("<14>Jan  1 host app: hello", Info),
        ("\u{1b}[32mINFO\u{1b}[0m server started", Info),
        (
            "\u{1b}[90m12:00PM\u{1b}[0m \u{1b}[31mERR\u{1b}[0m failed",
            Error,
        ),
        (
            "2024-01-01 12:00:00.000 UTC [1] FATAL:  password authentication failed",
            Fatal,
        ),
    ] {
        assert_eq!(of(line.as_bytes()), Some(level), "{line}");
    }
}

#[test]
fn words_within_a_sentence_are_no_level() {
    for line in [
        "",
        "the user saw an ERROR page",
        "no error here",
        "information about the thing",
        "GET /error 200",
        r#"{"msg":"level error"}"#,
        r#"{"msg":"no end"#,
        r#"{"level":{"a":"error"}}"#,
        r#"{"level":999}"#,
        "<notanumber> error",
        "E01 15:04",
        "loglevels=debug",
        "Everything 0102 12:00",
    ] {
        assert_eq!(of(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn stack_traces_go_on() {
    for line in [
        "    at com.example.App.main(App.java:1)",
        "\tat x",
        "Caused by: java.io.IOException: x",
        "Traceback (most recent call last):",
        "  File \"x.py\", line 1, in <module>",
        "goroutine 1 [running]:",
        "}",
    ] {
        assert!(goes_on(line.as_bytes()), "{line}");
    }
    assert!(!goes_on(b"started"));
    assert!(!goes_on(b""));
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (of(&bytes), goes_on(&bytes));
    }

    #[test]
    fn anything_like_json_ends_in_an_answer(text in r#"[{}\[\]",:\\ a0-9level]{0,60}"#) {
        let _ = of(format!("{{{text}").as_bytes());
    }
}
