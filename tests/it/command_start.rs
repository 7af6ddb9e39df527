//! Commands that cannot be started: what is told, and that nobody else waits for it.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use turbopanel_agent::proto::{
    CommandStart, EnvironmentVariable, GetStatusRequest, agent_service_client::AgentServiceClient,
    command_start::Target,
};

use crate::{
    agent_support::{Agent, eventually},
    command_support::{Running, host, reason, run},
    docker_support::TestContainer,
};

/// A file system without an answer: nobody serves it.
struct DeadFileSystem {
    directory: tempfile::TempDir,
    keeper: Child,
}

impl DeadFileSystem {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"exec 3<>/dev/fuse
mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 dead "$1" && exec sleep 1000"#;
        let keeper = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        eventually("it is mounted (needs root and /dev/fuse)", || {
            std::fs::read_to_string("/proc/mounts")
                .unwrap()
                .contains(&path)
        });
        Self { directory, keeper }
    }
}

impl Drop for DeadFileSystem {
    fn drop(&mut self) {
        // With its last holder the connection ends, and whoever waits gets an error.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .status();
    }
}

/// A working directory on a dead network share holds up its own command only.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_file_system_holds_up_nobody_else() {
    let agent = Agent::start(&[]);
    let dead = DeadFileSystem::mount();
    let start = CommandStart {
        working_dir: dead.directory.path().to_str().unwrap().into(),
        ..host(&["true"])
    };
    let held_up: Vec<_> = (0..10)
        .map(|_| {
            let channel = agent.connect(None);
            let start = start.clone();
            tokio::spawn(async move { Running::start_on(channel.await, start, None).await })
        })
        .collect();
    // All the while, others are answered and commands run elsewhere.
    while !held_up.iter().all(tokio::task::JoinHandle::is_finished) {
        let mut client = AgentServiceClient::new(agent.connect(None).await);
        let answer = client.get_status(GetStatusRequest {});
        let answer = tokio::time::timeout(Duration::from_secs(8), answer).await;
        answer.expect("the agent is frozen").unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for start in held_up {
        let status = start.await.unwrap().err().unwrap();
        assert_eq!(reason(&status), "LIMIT_REACHED", "{status}");
        assert!(status.message().contains("file systems"), "{status}");
    }
    drop(dead);
    eventually("commands are started again", || {
        let running = run(&agent, host(&["echo", "up"]));
        let ran =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(running));
        ran.is_ok_and(|(out, _, _)| out == "up\n")
    });
}

/// Whatever a caller names, however long it is, comes back as a clear error.
#[tokio::test(flavor = "multi_thread")]
async fn long_arguments_and_names_are_told() {
    let agent = Agent::start(&[]);
    let container = TestContainer::run(&[], &["sleep", "1000"]);
    let long = "x".repeat(200 * 1024);
    let path = format!("/{}", "y".repeat(20 * 1024));
    let many = vec!["z"; 300_000];
    let base = host(&["true"]);
    let variable = EnvironmentVariable {
        name: "LONG".into(),
        value: long.clone(),
    };
    let cases = [
        (host(&["true", &long]), "INVALID_FIELD"),
        (host(&many), "INVALID_FIELD"),
        (
            CommandStart {
                environment: vec![variable],
                ..base.clone()
            },
            "INVALID_FIELD",
        ),
        (host(&[&path]), "PROGRAM_NOT_FOUND"),
        (host(&[&path[1..]]), "PROGRAM_NOT_FOUND"),
        (
            CommandStart {
                working_dir: path.clone(),
                ..base.clone()
            },
            "DIRECTORY_NOT_FOUND",
        ),
        (
            CommandStart {
                working_dir: path[1..].into(),
                ..base.clone()
            },
            "INVALID_FIELD",
        ),
        (
            CommandStart {
                user: path.clone(),
                ..base.clone()
            },
            "INVALID_FIELD",
        ),
        (
            CommandStart {
                target: Some(Target::Container(path.clone())),
                ..base
            },
            "INVALID_FIELD",
        ),
    ];
    for (mut start, expected) in cases {
        for inside in [false, true] {
            if inside && matches!(start.target, Some(Target::Host(_))) {
                start.target = Some(Target::Container(container.name.clone()));
            } else if inside {
                continue;
            }
            let Err(status) = run(&agent, start.clone()).await else {
                panic!("{expected}");
            };
            assert!(status.message().len() < 2000, "{status}");
            if !inside {
                assert_eq!(reason(&status), expected, "{status}");
            } else {
                assert!(!reason(&status).is_empty(), "{status}");
            }
        }
    }
}
