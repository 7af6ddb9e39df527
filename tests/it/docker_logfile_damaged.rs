//! Files that a crash, a person or an enemy has had their hands on.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, symlink},
    path::PathBuf,
};

use turbopanel_agent::engines::docker::logs::{GapCause, LogRequest};

use crate::{
    docker_logfile_support::{api_engine, from_files, log_path, texts, to_end, whole},
    docker_logs::ended,
    docker_support::{TestContainer, engine},
};

fn json(text: &str) -> Vec<u8> {
    format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.5Z\"}}\n")
        .into_bytes()
}

fn append(path: &PathBuf, parts: &[&[u8]]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    for part in parts {
        file.write_all(part).unwrap();
    }
}

fn local_path(container: &TestContainer) -> PathBuf {
    let resolv = crate::docker_support::docker(
        None,
        &["inspect", "-f", "{{.ResolvConfPath}}", &container.name],
    );
    PathBuf::from(resolv).with_file_name("local-logs/container.log")
}

#[tokio::test]
async fn docker_logfile_damage_is_told_where_it_is() {
    let container = ended(&[], "echo one; echo two");
    let path = log_path(&container);
    let torn = &json("torn by a crash")[..25];
    append(
        &path,
        &[
            torn,
            &json("behind the torn one"),
            &[0; 100_000],
            &json("behind the hole"),
            b"garbage\n\n\xff\xfe\n",
            &json("behind the garbage"),
            b"{\"log\":\"no time\\n\",\"stream\":\"stdout\"}\n",
            b"{\"log\":\"wrong time\\n\",\"stream\":\"stdout\",\"time\":\"yesterday\"}\n",
            &json("last"),
        ],
    );
    let (lines, gaps, _) = to_end(from_files(&whole(&container)).await).await;
    let expected = [
        "one",
        "two",
        "behind the torn one",
        "behind the hole",
        "behind the garbage",
        "last",
    ];
    assert_eq!(texts(&lines), expected);
    let told: Vec<_> = gaps
        .iter()
        .map(|(at, gap)| (*at, gap.cause, gap.bytes))
        .collect();
    let damaged = |at, bytes| (at, GapCause::Damaged, bytes);
    assert_eq!(
        told,
        [
            damaged(2, 25),
            damaged(3, 100_000),
            damaged(4, 12),
            damaged(5, 98)
        ]
    );
    let last = LogRequest {
        tail: Some(1),
        ..whole(&container)
    };
    assert_eq!(texts(&to_end(from_files(&last).await).await.0), ["last"]);
}

#[tokio::test]
async fn docker_logfile_a_record_of_100_mb_is_passed_over() {
    let container = ended(&[], "echo one");
    let path = log_path(&container);
    let long = vec![b'x'; 1 << 20];
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"log\":\"").unwrap();
    for _ in 0..100 {
        file.write_all(&long).unwrap();
    }
    let end = json("");
    file.write_all(&end[8..]).unwrap();
    file.write_all(&json("next")).unwrap();
    let (lines, gaps, _) = to_end(from_files(&whole(&container)).await).await;
    assert_eq!(texts(&lines), ["one", "next"]);
    let bytes = (100 << 20) + end.len() as u64;
    assert_eq!((gaps.len(), gaps[0].0, gaps[0].1.bytes), (1, 1, bytes));
}

#[tokio::test]
async fn docker_logfile_lengths_that_lie_hide_no_more_than_their_record() {
    let container = ended(&["--log-driver=local"], "seq 1000");
    let path = local_path(&container);
    let (lines, ..) = to_end(from_files(&whole(&container)).await).await;
    assert_eq!(lines.len(), 1000);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let size = file.metadata().unwrap().len();
    for lie in [0u32, 1, 20, 500, 999_999, 1 << 24, u32::MAX] {
        let mut old = [0; 4];
        file.read_exact_at(&mut old, 0).unwrap();
        file.write_all_at(&lie.to_be_bytes(), 0).unwrap();
        let (lines, gaps, _) = to_end(from_files(&whole(&container)).await).await;
        let texts = texts(&lines);
        // A length that may be true is believed until the file ends.
        if lie == 999_999 {
            assert!(lines.is_empty() && gaps[0].1.bytes == size);
        } else {
            assert_eq!(
                (texts.len(), texts[0].as_str(), gaps.len()),
                (999, "2", 1),
                "{lie}"
            );
        }
        // Found from the end, the beginning does not matter.
        let request = LogRequest {
            tail: Some(10),
            ..whole(&container)
        };
        let (lines, gaps, _) = to_end(from_files(&request).await).await;
        assert_eq!((lines.len(), gaps.len()), (10, 0));
        file.write_all_at(&old, 0).unwrap();
    }
    // Cut in the middle of its last record.
    file.set_len(size - 5).unwrap();
    let request = LogRequest {
        tail: Some(2),
        ..whole(&container)
    };
    let (lines, gaps, _) = to_end(from_files(&request).await).await;
    assert_eq!(
        (texts(&lines).join(" "), gaps.len()),
        ("998 999".to_owned(), 1)
    );
}

#[tokio::test]
async fn docker_logfile_a_compressed_file_that_is_damaged_is_told() {
    let options = [
        "--log-opt",
        "max-size=50k",
        "--log-opt",
        "max-file=4",
        "--log-opt",
        "compress=true",
    ];
    let container = ended(&options, "seq 3000");
    let packed = PathBuf::from(format!("{}.2.gz", log_path(&container).display()));
    let (all, ..) = to_end(from_files(&whole(&container)).await).await;
    let bytes = fs::read(&packed).unwrap();
    for damage in [
        bytes[..bytes.len() / 2].to_vec(),
        b"no gzip at all".to_vec(),
        Vec::new(),
        [&bytes[..bytes.len() - 4], &[1, 2, 3, 4]].concat(),
    ] {
        fs::write(&packed, &damage).unwrap();
        let (lines, gaps, _) = to_end(from_files(&whole(&container)).await).await;
        assert!(lines.len() <= all.len() && lines.last() == all.last());
        assert!(
            gaps.iter().any(|(_, gap)| gap.cause == GapCause::Damaged),
            "{gaps:?}"
        );
        let request = LogRequest {
            tail: Some(10),
            ..whole(&container)
        };
        assert_eq!(to_end(from_files(&request).await).await.0.len(), 10);
    }
}

#[tokio::test]
async fn docker_logfile_links_are_left_to_the_engine() {
    let container = ended(&[], "echo one");
    let path = log_path(&container);
    let moved = path.with_extension("moved");
    fs::rename(&path, &moved).unwrap();
    symlink(moved.file_name().unwrap(), &path).unwrap();
    let logs = engine().logs(whole(&container)).await.unwrap();
    assert!(!logs.reads_files());
    assert_eq!(texts(&to_end(logs).await.0), ["one"]);
    fs::remove_file(&path).unwrap();
    fs::rename(&moved, &path).unwrap();
    // The engine tells where the link led by now, which is no log's name.
    assert!(
        !engine()
            .logs(whole(&container))
            .await
            .unwrap()
            .reads_files()
    );
    // Files that are not to be seen here.
    let container = ended(&[], "echo one");
    assert!(
        !api_engine()
            .logs(whole(&container))
            .await
            .unwrap()
            .reads_files()
    );
}
