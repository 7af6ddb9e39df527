//! Stacks that were made on the host by `docker compose`, and hosts without it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Request;
use turbopanel_agent::{
    engines::stacks::{Stacks, plugin::Finder},
    operations::Operations,
    proto::{
        DownStackRequest, ListStacksRequest, RestartStackRequest, ValidateStackRequest,
        stack_service_server::StackService,
    },
    services::stack::StackApi,
};

use crate::{
    command_support::reason,
    docker_support::{TestContainer, docker, engine, unique},
    stack_support::{Rig, ended, files},
};

/// The plugin that the host has.
async fn plugin() -> PathBuf {
    Finder::default().find().await.unwrap()
}

async fn by_hand(directory: &Path, arguments: &[&str]) {
    let output = Command::new(plugin().await)
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_one_that_was_made_by_hand_is_managed_the_same() {
    let mut rig = Rig::start("hand").await;
    let stack = rig.stack.clone();
    let home = TempDir::new().unwrap();
    let compose = home.path().join("compose.yaml");
    let text = "services: {web: {image: 'turbopanel/test:busybox', command: [sleep, '${HOW_LONG}'], stop_grace_period: 0s}}\n";
    fs::write(&compose, text).unwrap();
    fs::write(home.path().join(".env"), "HOW_LONG=600\n").unwrap();
    by_hand(home.path(), &["-p", &stack, "up", "-d"]).await;

    let listed = rig
        .client
        .list_stacks(ListStacksRequest::default())
        .await
        .unwrap();
    let listed = listed.into_inner().stacks;
    let listed = listed.iter().find(|listed| listed.name == stack).unwrap();
    assert_eq!(listed.config_files, [compose.to_str().unwrap()]);
    assert!(!listed.kept);
    let before = rig.containers().await;
    assert!(before["web"].1);
    let up = rig.brought_up(rig.up(None)).await;
    assert_eq!(up.operation.error, None);
    assert!(up.operation.result.as_ref().unwrap().unchanged, "{up:?}");
    assert_eq!(rig.containers().await, before);
    let restart = RestartStackRequest {
        stack: stack.clone(),
        ..RestartStackRequest::default()
    };
    let restarted = rig.client.restart_stack(restart).await.unwrap();
    assert_eq!(ended(restarted.into_inner()).await.operation.error, None);

    // Changed where its owner changes it.
    fs::write(home.path().join(".env"), "HOW_LONG=601\n").unwrap();
    let up = rig.brought_up(rig.up(None)).await;
    assert_eq!(up.operation.error, None);
    let after = rig.containers().await;
    assert_ne!(after, before);
    // A mistake there is told with the file and the line.
    fs::write(&compose, text.to_owned() + "bad: : x\n").unwrap();
    let up = rig.brought_up(rig.up(None)).await;
    let (reason, message, metadata) = up.failure();
    assert_eq!(
        (reason, metadata["line"].as_str()),
        ("STACK_FILE_INVALID", "2"),
        "{message}"
    );
    assert_eq!(metadata["file"], compose.to_str().unwrap());
    // What everybody may write is not followed.
    fs::write(&compose, text).unwrap();
    fs::set_permissions(&compose, fs::Permissions::from_mode(0o666)).unwrap();
    let up = rig.brought_up(rig.up(None)).await;
    assert_eq!(up.failure().0, "STACK_FILES_MISSING");
    assert!(
        up.failure()
            .1
            .contains("everybody on the host may write it"),
        "{up:?}"
    );
    fs::remove_file(&compose).unwrap();
    let up = rig.brought_up(rig.up(None)).await;
    assert_eq!(up.failure().0, "STACK_FILES_MISSING");
    assert!(
        up.failure().1.contains("the agent cannot read it"),
        "{up:?}"
    );
    // Its labels are enough to take it down.
    let down = rig.taken_down(DownStackRequest::default()).await;
    assert_eq!(down.operation.error, None);
    assert!(rig.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_the_newer_files_are_taken() {
    let mut rig = Rig::start("newer").await;
    let stack = rig.stack.clone();
    let home = TempDir::new().unwrap();
    let text = |seconds: u32| {
        format!(
            "services: {{web: {{image: 'turbopanel/test:busybox', command: [sleep, '{seconds}'], stop_grace_period: 0s}}}}\n"
        )
    };
    fs::write(home.path().join("compose.yaml"), text(601)).unwrap();
    by_hand(home.path(), &["-p", &stack, "up", "-d"]).await;
    let sent = text(602);
    rig.brought_up(rig.up(Some(files(&[("compose.yaml", &sent)]))))
        .await;
    let asleep = async |rig: &mut Rig| {
        let id = rig.containers().await["web"].0.clone();
        docker(None, &["inspect", "-f", "{{index .Args 0}}", &id])
    };
    assert_eq!(asleep(&mut rig).await, "602");
    rig.brought_up(rig.up(None)).await;
    assert_eq!(asleep(&mut rig).await, "602");
    // The engine tells whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    by_hand(home.path(), &["-p", &stack, "up", "-d"]).await;
    assert_eq!(asleep(&mut rig).await, "601");
    let up = rig.brought_up(rig.up(None)).await;
    assert!(up.operation.result.as_ref().unwrap().unchanged, "{up:?}");
    assert_eq!(asleep(&mut rig).await, "601");
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_labels_of_an_image_are_not_followed() {
    let mut rig = Rig::start("image").await;
    let home = TempDir::new().unwrap();
    let compose = home.path().join("compose.yaml");
    fs::write(
        &compose,
        "services: {evil: {image: 'turbopanel/test:busybox'}}",
    )
    .unwrap();
    let plain = TestContainer::create(&[], &["sleep", "600"]);
    let image = unique("evil");
    let label = |name: &str, value: &str| format!("LABEL com.docker.compose.{name}={value}");
    let labels = [
        label("project", &rig.stack),
        label("service", "web"),
        label("project.working_dir", home.path().to_str().unwrap()),
        label("project.config_files", compose.to_str().unwrap()),
    ];
    let mut arguments = vec!["commit"];
    for label in &labels {
        arguments.extend(["--change", label]);
    }
    arguments.extend([plain.name.as_str(), &image]);
    docker(None, &arguments);
    let name = unique("evil");
    docker(None, &["run", "-d", "--name", &name, "--net=none", &image]);
    let up = rig.brought_up(rig.up(None)).await;
    docker(None, &["rm", "-f", &name]);
    docker(None, &["rmi", &image]);
    assert_eq!(up.failure().0, "STACK_FILES_MISSING");
    assert!(up.failure().1.contains("come from its image"), "{up:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_without_a_plugin_the_mend_is_told_and_one_installed_later_is_found() {
    let folder = TempDir::new().unwrap();
    let finder = Finder::among(vec![folder.path().join("none"), folder.path().to_owned()]);
    let stacks = Stacks::new(engine(), finder, Some(folder.path()));
    let operations = Operations::open(None, TaskTracker::new(), CancellationToken::new());
    let api = StackApi::new(stacks.clone(), operations);
    let validate = async || {
        let text = "services: {web: {image: a}}";
        let request = ValidateStackRequest {
            stack: "web".to_owned(),
            files: Some(files(&[("compose.yaml", text)])),
        };
        let checked = api.validate_stack(Request::new(request)).await;
        checked.map(|checked| checked.into_inner().services)
    };
    assert!(!stacks.is_available());
    let refused = validate().await.unwrap_err();
    assert_eq!(reason(&refused), "STACKS_UNAVAILABLE");
    assert!(
        refused.message().contains("install docker-compose-plugin"),
        "{refused:?}"
    );
    // The lists need none.
    api.list_stacks(Request::new(ListStacksRequest::default()))
        .await
        .unwrap();

    let installed = folder.path().join("docker-compose");
    let install = |script: &str, mode| {
        let _ = fs::remove_file(&installed);
        fs::write(&installed, script).unwrap();
        fs::set_permissions(&installed, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (script, mode, words) in [
        (
            "#!/bin/sh\necho 2.20.3\n",
            0o755,
            "version 2.20.3, which is too old",
        ),
        ("#!/bin/sh\nexit 3\n", 0o755, "cannot be used"),
        ("#!/bin/sh\necho hello\n", 0o755, "cannot be used"),
        ("no program", 0o755, "cannot be used"),
        (
            "#!/bin/sh\necho 9.0.0\n",
            0o644,
            "install docker-compose-plugin",
        ),
        (
            "#!/bin/sh\necho 9.0.0\n",
            0o777,
            "install docker-compose-plugin",
        ),
    ] {
        install(script, mode);
        let refused = validate().await.unwrap_err();
        assert_eq!(reason(&refused), "STACKS_UNAVAILABLE", "{script}");
        assert!(
            refused.message().contains(words),
            "{script}: {}",
            refused.message()
        );
    }
    fs::remove_file(&installed).unwrap();
    std::os::unix::fs::symlink(plugin().await, &installed).unwrap();
    assert!(stacks.is_available());
    assert_eq!(validate().await.unwrap(), ["web"]);
}
