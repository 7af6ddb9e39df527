//! What compose makes of a stack's files, with what may be a secret left out.

use serde_json::Value;

/// Maps whose values may be secrets, below each service.
const OF_SERVICES: [&[&str]; 2] = [&["environment"], &["build", "args"]];
/// Sections whose entries may hold a secret in full, and where.
const WHOLE: [(&str, &str); 2] = [("configs", "content"), ("secrets", "content")];

/// The names of the services.
pub fn services(config: &Value) -> Vec<String> {
    let services = config.get("services").and_then(Value::as_object);
    services
        .into_iter()
        .flat_map(|services| services.keys().cloned())
        .collect()
}

/// Empties values that may be secrets.
pub fn hide(config: &mut Value) {
    if let Some(Value::Object(services)) = config.get_mut("services") {
        for service in services.values_mut() {
            for way in OF_SERVICES {
                let below = way
                    .iter()
                    .try_fold(&mut *service, |value, key| value.get_mut(key));
                if let Some(values) = below {
                    empty(values);
                }
            }
        }
    }
    for (section, field) in WHOLE {
        if let Some(Value::Object(entries)) = config.get_mut(section) {
            for entry in entries.values_mut() {
                if let Some(content) = entry.get_mut(field) {
                    *content = Value::String(String::new());
                }
            }
        }
    }
}

/// A map, or a list of `NAME=value`.
fn empty(values: &mut Value) {
    match values {
        Value::Object(values) => {
            for value in values.values_mut() {
                *value = Value::String(String::new());
            }
        }
        Value::Array(values) => {
            for value in values {
                let name = value.as_str().and_then(|text| text.split('=').next());
                *value = Value::String(name.unwrap_or_default().to_owned());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_left_out() {
        let text = r#"{"name":"a","services":{
            "web":{"image":"a","environment":{"A":"canary","B":null},"build":{"args":{"C":"canary"}}},
            "db":{"environment":["A=canary","B"],"build":{"args":["X=canary=1"]}}},
            "configs":{"c":{"content":"canary"}},"secrets":{"s":{"content":"canary","file":"f"}}}"#;
        let mut config = serde_json::from_str(text).unwrap();
        hide(&mut config);
        let hidden = config.to_string();
        assert!(!hidden.contains("canary"), "{hidden}");
        assert!(
            hidden.contains(r#"["A","B"]"#) && hidden.contains(r#""file":"f""#),
            "{hidden}"
        );
        assert_eq!(services(&config), ["db", "web"]);
        for odd in [
            "null",
            "[]",
            r#"{"services":[1]}"#,
            r#"{"services":{"a":7},"configs":7}"#,
        ] {
            hide(&mut serde_json::from_str(odd).unwrap());
        }
    }
}
