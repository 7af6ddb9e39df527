//! Logs of containers that were started more than once, and of names that change hands.

use std::sync::atomic::{AtomicBool, Ordering};

use tonic::Code;
use turbopanel_agent::{engines::docker::EngineAddress, services::log::LogApi};

use crate::{
    docker_containers::reason,
    docker_logfile_support::api_engine_at,
    docker_logs::{all, ended, of, open},
    docker_relay::{ENGINE, Relay, Treatment},
    docker_support::docker,
};

/// A terminal's run that ends with a prompt ends no line; the next run's first message comes right behind it.
#[tokio::test]
async fn a_prompt_and_the_next_run_are_lines_of_their_own() {
    for driver in ["json-file", "local"] {
        let container = ended(&["-t", "--log-driver", driver], "echo one; printf 'me$ '");
        for _ in 0..2 {
            docker(None, &["start", &container.name]);
            docker(None, &["wait", &container.name]);
        }
        let (lines, _) = all(of(&container.name)).await;
        let shown: Vec<_> = lines
            .iter()
            .map(|line| (line.content.as_ref(), line.partial))
            .collect();
        let run = [(&b"one\r"[..], false), (&b"me$ "[..], true)];
        assert_eq!(shown, [run, run, run].concat(), "{driver}");
        assert!(lines.is_sorted_by_key(|line| line.time_unix_nano));
        assert!(lines.iter().all(|line| line.time_unix_nano > 0));
    }
}

/// The name goes to a container with a terminal between the look at the old one and its log: the new one's bytes
/// are not read as the old one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_of_the_container_that_was_looked_at() {
    let container = ended(&[], "echo old");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let (name, replaced) = (container.name.clone(), AtomicBool::new(false));
    let _relay = Relay::with(&path, ENGINE, move |line| {
        if line.contains("/logs?") && !replaced.swap(true, Ordering::SeqCst) {
            docker(None, &["rm", "-f", &name]);
            let run = ["run", "-dt", "--net=none", "--name", &name];
            docker(
                None,
                &[&run[..], &[crate::docker_support::IMAGE, "echo", "new"]].concat(),
            );
        }
        Treatment::Pass
    });
    let engine = api_engine_at(EngineAddress::Unix(path));
    let gone = open(&LogApi::new(engine), of(&container.name)).await;
    let gone = gone.err().unwrap();
    assert_eq!(gone.code(), Code::NotFound, "{gone:?}");
    assert_eq!(reason(&gone), "CONTAINER_NOT_FOUND");
    assert!(gone.message().contains(&container.name), "{gone:?}");
}
