//! The engine's files and its API give the same lines.

use turbopanel_agent::engines::docker::{lines::Line, logs::LogRequest};

use crate::{
    docker_logfile_support::{both, from_api, from_files, same, texts, to_end, whole},
    docker_logs::ended,
    docker_support::docker,
};

const JSON: &[&str] = &[];
const LOCAL: &[&str] = &["--log-driver=local"];

#[tokio::test]
async fn docker_logfile_plain_lines_and_both_streams() {
    for options in [
        JSON,
        LOCAL,
        &["--log-opt", "labels=team", "--label", "team=\"log\":{x"],
    ] {
        let script = "for i in $(seq 300); do echo out $i; echo err $i >&2; echo; done; printf end";
        let container = ended(options, script);
        let lines = both(&whole(&container)).await;
        assert_eq!(lines.len(), 901);
        for (stdout, stderr) in [(true, false), (false, true), (false, false)] {
            let request = LogRequest {
                stdout,
                stderr,
                ..whole(&container)
            };
            if stdout || stderr {
                assert_eq!(both(&request).await.len(), if stdout { 601 } else { 300 });
            } else {
                // The engine refuses to give none of both.
                assert!(to_end(from_files(&request).await).await.0.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn docker_logfile_whatever_is_printed() {
    let hostile = [
        r#"printf '{"log":"x\\n","stream":"stderr","time":"2026-01-01T00:00:00Z"}\n'"#,
        r#"printf 'quotes " and \\ and \\" and \\\\" end\\\n'"#,
        r"printf 'invalid \377\376 \303\050 \355\240\200 \360\237\230 end\n'",
        r"printf 'controls \001\002\033[31mred\033[0m\010\011\014\015 \177 \000 nul\n'",
        r"printf 'separators \342\200\250 \342\200\251 emoji \360\237\230\200 <b>&amp;</b>\n'",
        r"printf '\001\000\000\000\177\377\377\377\n'",
        r"printf '\000\000\000\012\012\006stdout\020\001\032\001x\000\000\000\012\n'",
        "head -c 40000 /dev/urandom",
        "echo",
        "head -c 50000 /dev/zero",
        "echo; printf 'no newline at the end'",
    ];
    for options in [JSON, &["-t"], LOCAL, &["-t", "--log-driver=local"]] {
        let local_long = options.contains(&"--log-driver=local");
        for script in hostile {
            // Of a long line the local driver loses the end through the API: by itself it is compared below.
            if local_long && script.starts_with("head") {
                continue;
            }
            let container = ended(options, script);
            both(&whole(&container)).await;
        }
    }
}

#[tokio::test]
async fn docker_logfile_a_line_of_10_mb() {
    let script = "echo before; head -c 10000000 /dev/zero | tr '\\0' 'x'; echo; echo after";
    for options in [JSON, &["-t"]] {
        let container = ended(options, script);
        let lines = both(&whole(&container)).await;
        let length: usize = lines
            .iter()
            .map(|line| line.content.trim_ascii_end().len())
            .sum();
        assert_eq!(length, 10_000_000 + "beforeafter".len());
    }
    // The same bytes; that the last piece ends the line is told by the file alone.
    let container = ended(LOCAL, script);
    let (mut files, gaps, _) = to_end(from_files(&whole(&container)).await).await;
    let (api, ..) = to_end(from_api(&whole(&container)).await).await;
    assert!(gaps.is_empty());
    let last = files.len() - 2;
    assert!(!files[last].partial && files[last - 1].partial);
    files[last].partial = api[last].partial;
    same(&files, &api, "local");
}

#[tokio::test]
async fn docker_logfile_tail_since_and_until() {
    for options in [
        JSON,
        LOCAL,
        &["-t"],
        &["--log-opt", "max-size=4k", "--log-opt", "max-file=20"],
        &[
            "--log-opt",
            "max-size=4k",
            "--log-opt",
            "max-file=20",
            "--log-opt",
            "compress=true",
        ],
        &[
            "--log-driver=local",
            "--log-opt",
            "max-size=4k",
            "--log-opt",
            "max-file=20",
        ],
    ] {
        let container = ended(
            options,
            "for i in $(seq 400); do echo line $i; echo error $i >&2; done",
        );
        let lines = both(&whole(&container)).await;
        assert_eq!(lines.len(), 800, "{options:?}");
        for tail in [0, 1, 2, 39, 40, 41, 100, 799, 800, 801, u32::MAX] {
            let request = LogRequest {
                tail: Some(tail),
                ..whole(&container)
            };
            assert_eq!(both(&request).await.len(), 800.min(tail as usize));
            let request = LogRequest {
                stdout: false,
                ..request
            };
            both(&request).await;
        }
        // Asked for a time, engines of these versions leave out all rotated files when the oldest one is compressed and
        // older than that.
        let by_time = async |request: &LogRequest| {
            if options.contains(&"max-file=20") {
                return to_end(from_files(request).await).await.0;
            }
            both(request).await
        };
        for (from, to) in [(0, 799), (100, 200), (0, 10), (790, 799), (400, 400)] {
            let request = LogRequest {
                since: Some(lines[from].time),
                until: Some(lines[to].time),
                ..whole(&container)
            };
            let between = |lines: &[Line]| -> Vec<Line> {
                let time = request.since.unwrap()..request.until.unwrap();
                lines
                    .iter()
                    .filter(|line| time.contains(&line.time))
                    .cloned()
                    .collect()
            };
            same(&by_time(&request).await, &between(&lines), "between times");
            let last = LogRequest {
                tail: Some(300),
                ..request.clone()
            };
            same(
                &by_time(&last).await,
                &between(&lines[500..]),
                "between times",
            );
        }
        let nothing = LogRequest {
            since: Some(i64::MAX),
            ..whole(&container)
        };
        assert!(both(&nothing).await.is_empty());
    }
}

#[tokio::test]
async fn docker_logfile_rotated_files_are_read_from_the_oldest() {
    for (driver, compress) in [
        ("json-file", "false"),
        ("json-file", "true"),
        ("local", "false"),
        ("local", "true"),
    ] {
        for files in ["2", "5"] {
            let options = [
                "--log-driver",
                driver,
                "--log-opt",
                "max-size=100k",
                "--log-opt",
                &format!("max-file={files}"),
                "--log-opt",
                &format!("compress={compress}"),
            ];
            let container = ended(&options, "seq 20000");
            let lines = both(&whole(&container)).await;
            assert_eq!(lines.last().unwrap().content, "20000");
            let numbers = texts(&lines);
            let first: usize = numbers[0].parse().unwrap();
            assert!(first > 1, "nothing was rotated away");
            assert!(
                (first..=20_000)
                    .map(|number| number.to_string())
                    .eq(numbers)
            );
        }
    }
    // One file is kept only, and the engine reads no more than that.
    let container = ended(&["--log-opt", "max-size=100k"], "seq 20000");
    both(&whole(&container)).await;
}

#[tokio::test]
async fn docker_logfile_several_runs() {
    for options in [JSON, LOCAL, &["-t"], &["-t", "--log-driver=local"]] {
        let container = ended(options, "echo one; printf 'me$ '");
        for _ in 0..2 {
            docker(None, &["start", &container.name]);
            docker(None, &["wait", &container.name]);
        }
        assert_eq!(both(&whole(&container)).await.len(), 6);
    }
}
