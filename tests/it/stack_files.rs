//! The files of stacks: wrong ones, hostile ones, and what is kept secret of them.

use std::os::unix::fs::PermissionsExt;

use tonic::Status;
use tonic_types::StatusExt;
use turbopanel_agent::proto::{
    GetStackConfigRequest, StackFile, StackFiles, UpStackRequest, ValidateStackRequest,
};

use crate::{
    command_support::reason,
    stack_support::{Rig, file, files},
};

async fn validate(rig: &mut Rig, files: StackFiles) -> Result<(Vec<String>, Vec<String>), Status> {
    let request = ValidateStackRequest {
        stack: rig.stack.clone(),
        files: Some(files),
    };
    let checked = rig.client.validate_stack(request).await?.into_inner();
    Ok((checked.services, checked.warnings))
}

/// File and line that a refusal tells.
fn place(refused: &Status) -> (String, String) {
    let details = refused.get_error_details();
    let metadata = details.error_info().unwrap().metadata.clone();
    let of = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    (of("file"), of("line"))
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_a_wrong_file_is_told_with_its_line() {
    let mut rig = Rig::start("wrong").await;
    let head = "# a stack\nservices:\n  web:\n    image: turbopanel/test:busybox\n";
    for (rest, line, words) in [
        ("   bad: x\n", "5", "did not find expected key"),
        ("\tbad: x\n", "5", "tab character"),
        ("    image: again\n", "5", "already defined"),
        (
            "    ports: hello\n",
            "5",
            "services.web.ports must be a array",
        ),
        (
            "    restart: no\n    imagee: x\n",
            "6",
            "'imagee' not allowed",
        ),
        (
            "    ports:\n      - '80:80'\n      - '7000000:80'\n",
            "7",
            "7000000",
        ),
        ("    mem_limit: lots\n", "5", "lots"),
        ("    volumes: ['gone:/x']\n", "5", "undefined volume gone"),
        (
            "    depends_on: [cache]\n",
            "5",
            "undefined service \"cache\"",
        ),
        (
            "  db:\n    command: x\n",
            "5",
            "neither an image nor a build context",
        ),
        (
            "    command: '${OPEN'\n",
            "5",
            "invalid interpolation format",
        ),
        ("    command: *nobody\n", "5", "nobody"),
        ("\u{0}", "5", "control characters"),
    ] {
        let text = format!("{head}{rest}");
        let wrong = files(&[("compose.yaml", &text)]);
        let refused = validate(&mut rig, wrong.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "STACK_FILE_INVALID", "{rest}");
        let message = refused.message();
        assert!(message.contains(words), "{rest}: {message}");
        assert!(
            message.starts_with(&format!("compose.yaml, line {line}: ")),
            "{rest}: {message}"
        );
        assert!(!message.contains("draft"), "{message}");
        assert_eq!(
            place(&refused),
            ("compose.yaml".to_owned(), line.to_owned()),
            "{rest}"
        );
        // As it would have been with an operation, which keeps nothing of them.
        if words.contains("array") {
            let up = rig.brought_up(rig.up(Some(wrong))).await;
            let (reason, told, metadata) = up.failure();
            assert_eq!((reason, told.as_str()), ("STACK_FILE_INVALID", message));
            assert_eq!(metadata["line"], line);
            assert!(!rig.folder().exists());
        }
    }
    // In the file that has the mistake.
    let mut two = files(&[
        ("base.yaml", "services: {web: {image: a}}\n"),
        ("more.yaml", "services:\n  web:\n    ports: 7\n"),
        ("vars.env", "FINE=1\nnot a variable\n"),
    ]);
    two.compose_files = ["base.yaml", "more.yaml"].map(str::to_owned).to_vec();
    let refused = validate(&mut rig, two.clone()).await.unwrap_err();
    assert_eq!(
        place(&refused),
        ("more.yaml".to_owned(), "3".to_owned()),
        "{refused:?}"
    );
    two.compose_files.pop();
    two.env_files.push("vars.env".to_owned());
    let refused = validate(&mut rig, two).await.unwrap_err();
    assert_eq!(
        place(&refused),
        ("vars.env".to_owned(), "2".to_owned()),
        "{refused:?}"
    );
    for odd in ["", "- 1", "7", "services: {}\n"] {
        let refused = validate(&mut rig, files(&[("compose.yaml", odd)])).await;
        if let Err(refused) = refused {
            assert_eq!(reason(&refused), "STACK_FILE_INVALID", "{odd}");
        }
    }
    // What is fetched from elsewhere is switched off.
    let far = "include: ['https://127.0.0.1:1/x.git']\nservices: {}\n";
    let refused = validate(&mut rig, files(&[("compose.yaml", far)]))
        .await
        .unwrap_err();
    assert!(refused.message().contains("disabled"), "{refused:?}");
    let fine = files(&[("compose.yaml", &format!("{head}    user: '${{NOBODY}}'\n"))]);
    let (services, warnings) = validate(&mut rig, fine).await.unwrap();
    assert_eq!(services, ["web"]);
    assert!(
        warnings.iter().any(|warning| warning.contains("NOBODY")),
        "{warnings:?}"
    );
    // Nothing was left of what was looked at.
    let left = std::fs::read_dir(rig.state.path().join("stacks")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_hostile_files_are_refused_at_the_door() {
    let mut rig = Rig::start("hostile").await;
    let compose = ("compose.yaml", "services: {web: {image: a}}");
    let huge = "a".repeat(1 << 20);
    for name in [
        "../x",
        "/etc/cron.d/x",
        "a/../../x",
        "a\0b",
        "",
        ".",
        "-f",
        "a//b",
        "ü",
        &huge,
    ] {
        let refused = validate(&mut rig, files(&[compose, (name, "x")]))
            .await
            .unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD", "{name:.20}");
        let refused = rig
            .client
            .up_stack(rig.up(Some(files(&[compose, (name, "x")]))))
            .await;
        assert_eq!(reason(&refused.unwrap_err()), "INVALID_FIELD", "{name:.20}");
    }
    let mut many = files(&[compose]);
    many.files
        .extend((0..128).map(|number| file(&format!("f{number}"), "")));
    let big = files(&[compose, ("big", &"x".repeat(2 << 20))]);
    for too_much in [many, big] {
        let refused = validate(&mut rig, too_much).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD");
        assert!(refused.message().contains("at most"), "{refused:?}");
    }
    for injected in [
        "--help",
        "-f",
        "--project-directory=/",
        "a b",
        "../a",
        "A",
        "",
    ] {
        let request = UpStackRequest {
            stack: injected.to_owned(),
            files: Some(files(&[compose])),
            ..UpStackRequest::default()
        };
        let refused = rig.client.up_stack(request).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD", "{injected}");
        let mut request = rig.up(Some(files(&[compose])));
        request.services = vec![injected.to_owned()];
        let refused = rig.client.up_stack(request).await.map(|_| ());
        if injected != "A" {
            assert_eq!(reason(&refused.unwrap_err()), "INVALID_FIELD", "{injected}");
        }
        let mut named = files(&[compose]);
        named.profiles = vec![injected.to_owned()];
        if injected != "A" {
            let refused = validate(&mut rig, named).await.unwrap_err();
            assert_eq!(reason(&refused), "INVALID_FIELD", "{injected}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_a_missing_service_and_a_missing_image_are_told() {
    let mut rig = Rig::start("missing").await;
    let text = "services: {web: {image: 'turbopanel/no-such-image:1', pull_policy: never}}";
    let mut request = rig.up(Some(files(&[("compose.yaml", text)])));
    let up = rig.brought_up(request.clone()).await;
    let (reason, message, metadata) = up.failure();
    assert_eq!(reason, "STACK_FAILED");
    assert!(
        message.contains("No such image: turbopanel/no-such-image:1"),
        "{message}"
    );
    assert_eq!(metadata["stack"], rig.stack);
    request.services = vec!["nobody".to_owned()];
    let up = rig.brought_up(request).await;
    let (reason, message, _) = up.failure();
    assert_eq!(reason, "INVALID_FIELD");
    assert!(
        message.contains("nobody") || message.contains("no such service"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_secrets_are_kept_and_hidden() {
    let mut rig = Rig::start("secret").await;
    let text = "
services:
  web:
    image: turbopanel/test:busybox
    command: [sh, -c, 'sleep 600', '--password=${PASSWORD}']
    stop_grace_period: 0s
    environment: {LITERAL: canary-literal, FROM: '${PASSWORD}'}
    env_file: web.env
    configs: [c]
    volumes: ['./conf/web.conf:/web.conf:ro', './run.sh:/run.sh:ro']
configs: {c: {content: canary-config}}
";
    let mut sent = files(&[
        ("compose.yaml", text),
        (".env", "PASSWORD=canary-password\n"),
        ("web.env", "TOKEN=canary-token\n"),
        ("conf/web.conf", "listen\n"),
    ]);
    sent.files.push(StackFile {
        executable: true,
        ..file("run.sh", "#!/bin/sh\necho ran\n")
    });
    let mut request = GetStackConfigRequest {
        stack: rig.stack.clone(),
        files: Some(sent.clone()),
        include_values: false,
    };
    let config = rig
        .client
        .get_stack_config(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(!config.config.contains("canary"), "{}", config.config);
    assert!(
        config.config.contains("--password=${PASSWORD}"),
        "{}",
        config.config
    );
    let here = rig.folder().join("files/conf/web.conf");
    assert!(
        config.config.contains(here.to_str().unwrap()),
        "{}",
        config.config
    );
    request.include_values = true;
    let config = rig
        .client
        .get_stack_config(request)
        .await
        .unwrap()
        .into_inner();
    for value in [
        "canary-literal",
        "--password=canary-password",
        "canary-token",
        "canary-config",
    ] {
        assert!(config.config.contains(value), "{value}: {}", config.config);
    }

    let mut up = rig.up(Some(sent.clone()));
    up.request_id = "secret-1".to_owned();
    let up = rig.brought_up(up).await;
    assert_eq!(up.operation.error, None);
    let id = rig.containers().await["web"].0.clone();
    let run = |argv: &[&str]| crate::docker_support::docker(None, &[&["exec", &id], argv].concat());
    assert_eq!(
        run(&["sh", "-c", "echo $FROM $TOKEN"]),
        "canary-password canary-token"
    );
    // Other users in a container read what is mounted there.
    assert_eq!(
        run(&["su", "app", "-c", "cat /web.conf && /run.sh"]),
        "listen\nran"
    );
    let mode = |path: &str| {
        let of = std::fs::metadata(rig.folder().join(path)).unwrap();
        of.permissions().mode() & 0o777
    };
    for (path, expected) in [
        ("", 0o700),
        ("stack", 0o600),
        ("files/compose.yaml", 0o600),
        ("files/.env", 0o600),
        ("files/web.env", 0o600),
        ("files/conf/web.conf", 0o644),
        ("files/run.sh", 0o755),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    // A mistake that quotes a secret.
    let ports = text.replace("env_file: web.env", "ports: ['${PASSWORD}:80']");
    sent.files[0] = file("compose.yaml", &ports);
    let refused = validate(&mut rig, sent).await.unwrap_err();
    assert!(!refused.message().contains("canary"), "{refused:?}");
    assert!(refused.message().contains("***"), "{refused:?}");

    let operations = rig.state.path().join("operations");
    for entry in std::fs::read_dir(operations).unwrap() {
        let record = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&record).contains("canary"));
    }
    assert!(!rig.agent.log().contains("canary"), "{}", rig.agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_links_that_a_container_places_are_not_followed() {
    let mut rig = Rig::start("links").await;
    let text = "
services:
  web:
    image: turbopanel/test:busybox
    command: [sleep, '600']
    stop_grace_period: 0s
    volumes: ['.:/app']
";
    let sent = files(&[("compose.yaml", text), ("conf/a", "one"), ("b", "one")]);
    let up = rig.brought_up(rig.up(Some(sent.clone()))).await;
    assert_eq!(up.operation.error, None);
    let victim = rig.state.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("a"), "mine").unwrap();
    let laid = rig.folder().join("files");
    // As the container could, through its mount.
    std::fs::remove_dir_all(laid.join("conf")).unwrap();
    std::os::unix::fs::symlink(&victim, laid.join("conf")).unwrap();
    std::fs::remove_file(laid.join("b")).unwrap();
    std::os::unix::fs::symlink(victim.join("a"), laid.join("b")).unwrap();
    std::fs::write(laid.join("compose.yaml"), "services: {evil: {image: x}}").unwrap();
    let up = rig.brought_up(rig.up(Some(sent))).await;
    assert_eq!(up.failure().0, "STATE_NOT_WRITABLE");
    assert!(up.failure().1.contains("conf"), "{up:?}");
    assert_eq!(std::fs::read_to_string(victim.join("a")).unwrap(), "mine");
    std::fs::remove_file(laid.join("conf")).unwrap();
    // What was changed there counts for nothing.
    let up = rig.brought_up(rig.up(None)).await;
    assert_eq!(up.operation.error, None);
    assert!(up.operation.result.as_ref().unwrap().unchanged, "{up:?}");
    assert_eq!(std::fs::read_to_string(victim.join("a")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(laid.join("b")).unwrap(), "one");
}
