//! A container's settings, taken from what the engine shows of it, for another container that is to stand in its place.
//!
//! Pure. The engine shows what the image brought and what was asked for in one; what the image brought is left out, so
//! that the new image's own comes instead.

use serde_json::{Map, Value, json};

/// On a container that stands in another one's place: that one's id, and whether it ran.
pub(super) const MARK: &str = "dev.turbopanel.recreated-from";

type Object = Map<String, Value>;

/// What a new container is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// As the engine takes it.
    pub(super) body: Value,
    /// Further networks and the place in them; an engine takes one at the creation.
    pub(super) networks: Vec<(String, Value)>,
}

/// The settings of a container as the engine shows it, made on this image, for a container of that one.
pub(super) fn settings(container: &Value, image: &Value, wanted: &str, mark: &str) -> Settings {
    let id = text(container, "/Id");
    let mut config = object(container.pointer("/Config"));
    leave_out(&mut config, &object(image.pointer("/Config")));
    let mut host = object(container.pointer("/HostConfig"));
    let mode = text(container, "/HostConfig/NetworkMode").to_owned();
    let short = id.get(..12).unwrap_or(id);
    let shared = mode.starts_with("container:");
    if shared || mode == "host" || config.get("Hostname").and_then(Value::as_str) == Some(short) {
        config.remove("Hostname");
    }
    if shared {
        config.remove("Domainname");
        config.remove("ExposedPorts");
    }
    keep_volumes(container, &mut host);
    keep_links(&mut host);
    config.insert("Image".into(), json!(wanted));
    let labels = config.entry("Labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(MARK.into(), json!(mark));
    }
    config.insert("HostConfig".into(), Value::Object(host));
    let mut networks = Vec::new();
    if !shared && mode != "host" && mode != "none" {
        let all = object(container.pointer("/NetworkSettings/Networks"));
        let mut first = None;
        for (name, endpoint) in all {
            let place = place(&endpoint, short);
            let own = name == mode || (name == "bridge" && matches!(mode.as_str(), "default" | ""));
            if own {
                first = Some((name, place));
            } else {
                networks.push((name, place));
            }
        }
        if let Some((name, place)) = first {
            let mut endpoints = Object::new();
            endpoints.insert(name, place);
            config.insert(
                "NetworkingConfig".into(),
                json!({"EndpointsConfig": endpoints}),
            );
        }
    }
    Settings {
        body: Value::Object(config),
        networks,
    }
}

fn object(value: Option<&Value>) -> Object {
    value
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Leaves out what the image brought.
fn leave_out(config: &mut Object, image: &Object) {
    let same = |config: &Object, field: &str| config.get(field) == image.get(field);
    // A command belongs to its entry point.
    if same(config, "Entrypoint") {
        config.remove("Entrypoint");
        if same(config, "Cmd") {
            config.remove("Cmd");
        }
    }
    for field in [
        "WorkingDir",
        "User",
        "StopSignal",
        "Healthcheck",
        "Shell",
        "OnBuild",
        "ArgsEscaped",
    ] {
        if same(config, field) {
            config.remove(field);
        }
    }
    let brought: Vec<&Value> = array(image.get("Env")).collect();
    if let Some(Value::Array(own)) = config.get_mut("Env") {
        own.retain(|variable| !brought.contains(&variable));
    }
    for field in ["Labels", "ExposedPorts", "Volumes"] {
        let brought = object(image.get(field));
        if let Some(Value::Object(own)) = config.get_mut(field) {
            own.retain(|key, value| brought.get(key) != Some(value));
        }
    }
    if let Some(Value::Object(labels)) = config.get_mut("Labels") {
        labels.remove(MARK);
    }
}

fn array(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// Volumes without a name of the user's go over to the new container, with what is in them.
fn keep_volumes(container: &Value, host: &mut Object) {
    let mut binds: Vec<Value> = array(host.get("Binds")).cloned().collect();
    let bound = |binds: &[Value], place: &str| {
        let mut places = binds.iter().filter_map(Value::as_str);
        places.any(|bind| bind.split(':').nth(1) == Some(place))
    };
    for mount in array(container.pointer("/Mounts")) {
        let (name, place) = (text(mount, "/Name"), text(mount, "/Destination"));
        if text(mount, "/Type") != "volume" || name.is_empty() || bound(&binds, place) {
            continue;
        }
        let asked = host.get_mut("Mounts").and_then(Value::as_array_mut);
        let mut asked = asked.into_iter().flatten();
        if let Some(asked) = asked.find(|asked| text(asked, "/Target") == place) {
            if let Some(asked) = asked.as_object_mut() {
                asked.insert("Source".into(), json!(name));
            }
            continue;
        }
        let mode = match (text(mount, "/Mode"), mount.get("RW")) {
            (_, Some(Value::Bool(false))) => ":ro",
            ("z", _) => ":z",
            _ => "",
        };
        binds.push(json!(format!("{name}:{place}{mode}")));
    }
    if !binds.is_empty() {
        host.insert("Binds".into(), Value::Array(binds));
    }
}

/// Links are shown as "/other:/this/alias" and taken as "other:alias".
fn keep_links(host: &mut Object) {
    if let Some(Value::Array(links)) = host.get_mut("Links") {
        for link in links {
            let taken = link.as_str().and_then(|link| {
                let (other, alias) = link.split_once(':')?;
                let alias = alias.rsplit('/').next()?;
                Some(format!("{}:{alias}", other.trim_start_matches('/')))
            });
            if let Some(taken) = taken {
                *link = json!(taken);
            }
        }
    }
}

/// A place in a network: what was asked for, without what the engine gave.
fn place(endpoint: &Value, short: &str) -> Value {
    let mut place = Object::new();
    for field in ["IPAMConfig", "Links", "DriverOpts", "GwPriority"] {
        if let Some(value) = endpoint.get(field).filter(|value| !value.is_null()) {
            place.insert(field.into(), value.clone());
        }
    }
    let aliases = array(endpoint.get("Aliases")).filter(|alias| alias.as_str() != Some(short));
    let aliases: Vec<Value> = aliases.cloned().collect();
    if !aliases.is_empty() {
        place.insert("Aliases".into(), Value::Array(aliases));
    }
    Value::Object(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_image_brought_is_not_frozen() {
        let id = "0123456789abcdef";
        let image = json!({"Config": {
            "Env": ["PATH=/bin", "VERSION=1"], "Cmd": ["serve"], "Entrypoint": ["/e"], "WorkingDir": "/w",
            "User": "u", "Labels": {"image": "1", "both": "x"}, "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}}, "Healthcheck": {"Test": ["CMD", "true"]}, "StopSignal": "SIGINT",
        }});
        let container = json!({
            "Id": id,
            "Config": {
                "Hostname": "0123456789ab", "Image": "app:1", "Env": ["MINE=2", "PATH=/bin", "VERSION=1"],
                "Cmd": ["serve"], "Entrypoint": ["/e"], "WorkingDir": "/w", "User": "me",
                "Labels": {"image": "1", "both": "mine", MARK: "old running"},
                "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Volumes": {"/data": {}, "/more": {}},
                "Healthcheck": {"Test": ["CMD", "true"]}, "StopSignal": "SIGINT",
            },
            "HostConfig": {
                "NetworkMode": "front", "Binds": ["named:/named", "/host:/h:ro"], "Memory": 5,
                "Links": ["/db:/web/database"],
                "Mounts": [{"Type": "volume", "Target": "/asked"}],
            },
            "Mounts": [
                {"Type": "volume", "Name": "named", "Destination": "/named", "RW": true},
                {"Type": "bind", "Source": "/host", "Destination": "/h"},
                {"Type": "volume", "Name": "anon1", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "anon2", "Destination": "/more", "RW": false},
                {"Type": "volume", "Name": "anon3", "Destination": "/asked", "RW": true},
            ],
            "NetworkSettings": {"Networks": {
                "front": {"Aliases": ["web", "0123456789ab"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}, "IPAddress": "10.0.0.5"},
                "back": {"Aliases": ["0123456789ab"], "IPAMConfig": null, "MacAddress": "02:42"},
            }},
        });
        let made = settings(&container, &image, "app:2", "m");
        let expected = json!({
            "Image": "app:2", "Env": ["MINE=2"], "User": "me", "Labels": {"both": "mine", MARK: "m"},
            "ExposedPorts": {"81/tcp": {}}, "Volumes": {"/more": {}},
            "HostConfig": {
                "NetworkMode": "front", "Memory": 5, "Links": ["db:database"],
                "Binds": ["named:/named", "/host:/h:ro", "anon1:/data", "anon2:/more:ro"],
                "Mounts": [{"Type": "volume", "Target": "/asked", "Source": "anon3"}],
            },
            "NetworkingConfig": {"EndpointsConfig": {"front": {
                "Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.0.0.5"},
            }}},
        });
        assert_eq!(made.body, expected);
        assert_eq!(made.networks, [("back".to_owned(), json!({}))]);
        // A command of one's own stays, and so does one behind an entry point of one's own.
        for (field, value) in [("Cmd", json!(["x"])), ("Entrypoint", json!(["x"]))] {
            let mut own = container.clone();
            own["Config"][field] = value;
            let made = settings(&own, &image, "app:2", "m").body;
            assert!(made.get("Cmd").is_some());
            assert_eq!(made.get("Entrypoint").is_some(), field == "Entrypoint");
        }
        let mut shared = container;
        shared["HostConfig"]["NetworkMode"] = json!("container:abc");
        let made = settings(&shared, &image, "app:2", "m");
        assert_eq!(
            (made.body.get("NetworkingConfig"), made.networks.len()),
            (None, 0)
        );
        assert_eq!(made.body.get("ExposedPorts"), None);
    }
}
