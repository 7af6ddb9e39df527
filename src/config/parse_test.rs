//! Settings are taken as documented, and refused with their mend.

use super::*;

fn read(env: &[(&str, &str)]) -> Result<Config, Problems> {
    let get = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    config(&Flags::default(), &get)
}

const GOOD: [(&str, &str); 2] = [
    ("AGENT_MODE", "websocket"),
    ("CONTROL_PLANE_URL", "https://plane.example"),
];

#[test]
fn defaults_are_as_documented() {
    let config = read(&GOOD).unwrap();
    assert_eq!((config.port, config.log_level), (18284, LogLevel::Info));
    assert_eq!(config.engine.to_string(), "unix:///var/run/docker.sock");
    assert!(config.token.is_none() && config.name.is_none() && !config.insecure);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let problems = read(&[
        ("AGENT_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("AGENT_NAME", "../x"),
        ("AGENT_TOKEN", "two words"),
        ("DOCKER_HOST", "ssh://host"),
        ("AGENT_HOST_ROOT", "/nowhere"),
    ])
    .unwrap_err();
    let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
    for name in [
        "AGENT_PORT",
        "AGENT_MODE",
        "CONTROL_PLANE_URL",
        "LOG_LEVEL",
        "AGENT_NAME",
        "AGENT_TOKEN",
        "DOCKER_HOST",
        "AGENT_HOST_ROOT",
    ] {
        assert!(names.contains(&name), "{name} is missing in {problems}");
    }
    assert!(!problems.to_string().contains("two words"));
}

#[test]
fn a_password_in_the_url_is_refused_and_never_shown() {
    let problems = read(&[GOOD[0], ("CONTROL_PLANE_URL", "https://me:canary@plane")]).unwrap_err();
    assert!(!problems.to_string().contains("canary"), "{problems}");
}

#[test]
fn a5_plaintext_goes_to_private_addresses_only() {
    let url = |url| read(&[GOOD[0], ("CONTROL_PLANE_URL", url)]);
    assert!(!url("http://127.0.0.1:18282").unwrap().insecure);
    assert!(url("http://10.1.2.3:18282").unwrap().insecure);
    assert_eq!(
        url("http://8.8.8.8").unwrap_err().0[0].name,
        "CONTROL_PLANE_URL"
    );
    let allowed = [
        GOOD[0],
        ("CONTROL_PLANE_URL", "http://8.8.8.8"),
        ("AGENT_ALLOW_PLAINTEXT", "1"),
    ];
    assert!(read(&allowed).unwrap().insecure);
}

#[test]
fn secrets_do_not_show() {
    let config = read(&[GOOD[0], GOOD[1], ("AGENT_TOKEN", "canary")]).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    assert_eq!(config.token.unwrap().reveal(), "canary");
}

#[test]
fn the_hosts_root_holds_a_host() {
    let root = |folder: &str| read(&[GOOD[0], GOOD[1], ("AGENT_HOST_ROOT", folder)]);
    assert!(!root("/").unwrap().host_root.is_elsewhere());
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/host");
    assert!(root(fixture).unwrap().host_root.is_elsewhere());
    for wrong in ["host", "/tmp", "../host"] {
        let problems = root(wrong).unwrap_err();
        assert!(problems.to_string().contains("-v /:/host:ro"), "{problems}");
    }
}
