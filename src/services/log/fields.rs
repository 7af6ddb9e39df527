//! What structured lines say: JSON objects and logfmt, taken apart.

use serde_json::Value;

use crate::proto::LogField;

/// Fields of a line, at most.
const MOST: usize = 64;
/// Bytes of a value, at most.
const LONGEST: usize = 16 << 10;
/// A name of logfmt is no longer than this.
const LONGEST_NAME: usize = 128;

/// The fields of a line. None when it is neither JSON nor logfmt.
pub(super) fn of(line: &[u8]) -> Vec<LogField> {
    let line = line.trim_ascii();
    let mut fields = Vec::new();
    if line.first() == Some(&b'{') {
        if let Ok(Value::Object(object)) = serde_json::from_slice(line) {
            flatten("", object, &mut fields);
        }
    } else if let Ok(text) = std::str::from_utf8(line) {
        // All or nothing: a sentence with a "=" in it is no logfmt.
        fields = logfmt(text).unwrap_or_default();
    }
    fields
}

fn flatten(prefix: &str, object: serde_json::Map<String, Value>, fields: &mut Vec<LogField>) {
    for (key, value) in object {
        if fields.len() >= MOST {
            return;
        }
        let name = match prefix {
            "" => key,
            prefix => format!("{prefix}.{key}"),
        };
        let value = match value {
            // However deep objects are, names stay short.
            Value::Object(inner) if name.len() <= LONGEST_NAME => {
                flatten(&name, inner, fields);
                continue;
            }
            Value::String(text) => text,
            other => other.to_string(),
        };
        fields.push(field(name, value));
    }
}

fn field(name: String, mut value: String) -> LogField {
    let end = (0..=LONGEST.min(value.len()))
        .rev()
        .find(|end| value.is_char_boundary(*end));
    value.truncate(end.unwrap_or_default());
    LogField { name, value }
}

/// `name=value name="va\"lue"`; none when anything else stands between.
fn logfmt(text: &str) -> Option<Vec<LogField>> {
    let mut fields = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/@".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
            return None;
        }
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            let (value, after) = after.split_at_checked(end)?;
            (value.to_owned(), after)
        };
        if fields.len() < MOST {
            fields.push(field(name.to_owned(), value));
        }
        let next = after.trim_start_matches(' ');
        if next.len() == after.len() && !after.is_empty() {
            return None;
        }
        rest = next;
    }
    Some(fields)
}

/// A quoted value, and what follows its closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Vec<(String, String)> {
        let fields = of(line.as_bytes()).into_iter();
        fields.map(|field| (field.name, field.value)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn json_and_logfmt_are_taken_apart() {
        assert_eq!(
            parse(r#" {"a":"ü","b":{"c":1,"d":[1,"x"]},"e":null} "#),
            pairs(&[
                ("a", "ü"),
                ("b.c", "1"),
                ("b.d", r#"[1,"x"]"#),
                ("e", "null")
            ])
        );
        assert_eq!(
            parse(r#"level=info msg="it \"is\"\n" empty= took=1.5ms"#),
            pairs(&[
                ("level", "info"),
                ("msg", "it \"is\"\n"),
                ("empty", ""),
                ("took", "1.5ms")
            ])
        );
        for other in [
            "",
            "a sentence with a=b in it",
            "a=b, c",
            "{\"a\":",
            "[1]",
            "=x",
            "a=\"open",
        ] {
            assert_eq!(parse(other), [], "{other}");
        }
    }

    #[test]
    fn what_a_line_costs_is_bounded() {
        let many = (0..1000)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(of(many.as_bytes()).len(), MOST);
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        let fields = of(deep.as_bytes());
        assert!(
            fields.len() == 1
                && fields
                    .iter()
                    .all(|field| field.name.len() <= LONGEST_NAME + 2)
        );
        assert!(of("{\"a\":".repeat(100_000).as_bytes()).is_empty());
        let long = format!("a={}", "ü".repeat(LONGEST));
        assert!(
            of(long.as_bytes())
                .iter()
                .all(|field| field.value.len() <= LONGEST)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = of(&bytes);
        }
    }
}
