//! Reading a big log leaves the one thread of the runtime to others, and ends when its reader goes.

use std::{cell::Cell, rc::Rc};

use turbopanel_agent::engines::docker::logs::LogRequest;

use crate::{
    docker_logfile_support::{from_files, log_path, to_end, whole},
    docker_logs::ended,
};

/// Others run between the reads of a log of which no line is wanted, and which is read in one go.
#[tokio::test]
async fn docker_logfile_others_have_their_turns() {
    for compress in ["false", "true"] {
        let options = [
            "--log-opt",
            "max-size=10m",
            "--log-opt",
            "max-file=5",
            "--log-opt",
            &format!("compress={compress}"),
        ];
        let container = ended(&options, "yes 'a line that is not wanted' | head -n 250000");
        let request = LogRequest {
            stdout: false,
            ..whole(&container)
        };
        let logs = from_files(&request).await;
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let local = tokio::task::LocalSet::new();
        local.spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        let (lines, ..) = local.run_until(to_end(logs)).await;
        assert!(lines.is_empty());
        // A turn for each 256 KiB, or 64 KiB of what is unpacked, of some 25 MB.
        let size = std::fs::metadata(log_path(&container)).unwrap().len();
        assert!(
            turns.get() > 60,
            "{} turns for {size} bytes and older files",
            turns.get()
        );
    }
}

/// A log whose file is not in memory is read all the same, by another thread.
#[tokio::test]
async fn docker_logfile_what_is_not_in_memory_is_read() {
    let container = ended(&[], "seq 200000");
    let file = std::fs::File::open(log_path(&container)).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let (lines, gaps, _) = to_end(from_files(&whole(&container)).await).await;
    assert_eq!((lines.len(), gaps.len()), (200_000, 0));
}
