//! Logs of containers that were started more than once.

use crate::{
    docker_logs::{all, ended, of},
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
