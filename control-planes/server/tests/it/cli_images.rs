//! `turbopanel images`, `pull` and `recreate`.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cli_server::{Server, finish_bytes},
    private_engine::{IMAGE, docker},
};

/// A real registry with one user.
struct Registry {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let users = directory.path().join("users");
        let line = "pusher:$2y$05$/t0TVAeJVL63O0v8jAVjQOtHiQq8hJX0sD1ejP0Y02m0cQhXLneaa\n";
        std::fs::write(&users, line).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/registry.sh");
        let child = Command::new(script)
            .arg("serve")
            .arg(directory.path())
            .arg(port.to_string())
            .arg(users)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&address).is_err() {
            assert!(
                Instant::now() < deadline,
                "no registry: scripts/registry.sh ensure"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            address,
            _directory: directory,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A container that is removed at the end, whichever has the name then.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "-f", "-v", &self.0])
            .stdout(Stdio::null())
            .status();
    }
}

#[test]
fn images_are_pulled_listed_and_put_into_containers() {
    let (server, registry) = (Server::start(), Registry::start());
    let name = format!("{}/cli/app:1", registry.address);
    docker(None, &["tag", IMAGE, &name]);
    docker(
        None,
        &[
            "login",
            "-u",
            "pusher",
            "-p",
            "canary-b6Rk-password",
            &registry.address,
        ],
    );
    docker(None, &["push", "-q", &name]);
    docker(None, &["logout", &registry.address]);
    docker(None, &["image", "rm", &name]);
    let refused = server.run(&["pull", "local", &name]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("give credentials"), "{}", refused.err);
    let pull = [
        "pull",
        "local",
        &name,
        "--username",
        "pusher",
        "--password-stdin",
    ];
    let pulled = finish_bytes(&mut server.command(&pull), b"canary-b6Rk-password\n");
    let told = String::from_utf8(pulled.stderr).unwrap();
    assert!(pulled.status.success(), "{told}");
    assert!(told.contains(&name) && !told.contains("canary"), "{told}");
    let listed = server.out(&["images", "local", &name]);
    assert!(listed.contains(&name), "{listed}");
    let json: Value =
        serde_json::from_str(&server.out(&["images", "local", &name, "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert!(
        json[0]["tags"]
            .as_array()
            .unwrap()
            .contains(&Value::from(name.as_str()))
    );

    // Removed by its name: the container that it has in the end is another one.
    let bare = format!("tp-cli-recreate-{}", std::process::id());
    let container = Named(bare.clone());
    docker(
        None,
        &[
            "run",
            "-d",
            "--name",
            &bare,
            "--net=none",
            "--stop-timeout=1",
            IMAGE,
            "sleep",
            "1000",
        ],
    );
    let place = format!("local/{bare}");
    let same = server.run(&["recreate", &place, "--no-pull"]);
    assert!(same.err.contains("has this image already"), "{}", same.err);
    let forced = [
        "recreate",
        &place,
        "--no-pull",
        "--force",
        "--settle",
        "1s",
        "--json",
    ];
    let events = server.out(&forced);
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["operation"]["state"], "succeeded", "{events}");
    let id = last["operation"]["result"]["container_id"]
        .as_str()
        .unwrap();
    assert_eq!(docker(None, &["inspect", "-f", "{{.Id}}", &bare]), id);
    drop(container);
    docker(None, &["image", "rm", &name]);
}
