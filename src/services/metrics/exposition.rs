//! Prometheus' text format 0.0.4: families of samples, each with its help and type before it.

use std::{collections::HashSet, fmt::Write as _};

/// The format's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// What a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

/// A family that is being written. It is not there as long as it has no sample.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
    help: &'a str,
    kind: Kind,
    /// The labels of its samples.
    told: HashSet<String>,
}

impl Exposition {
    pub(super) fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &'a str) -> Family<'a> {
        Family {
            text: &mut self.text,
            name,
            help,
            kind,
            told: HashSet::new(),
        }
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: Option<impl Into<Value>>) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: Option<impl Into<Value>>) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample, if there is a value. Of several with the same labels, as names that are not UTF-8 may come to, only the
    /// first: with two, Prometheus refuses all. Writing to a string cannot fail.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: Option<impl Into<Value>>) {
        let Some(value) = value.map(Into::into) else {
            return;
        };
        let mut named = String::new();
        for (index, (label, value)) in labels.iter().enumerate() {
            named.push(if index == 0 { '{' } else { ',' });
            named.push_str(label);
            named.push_str("=\"");
            escape(value, &mut named);
            named.push('"');
        }
        if !labels.is_empty() {
            named.push('}');
        }
        if self.told.is_empty() {
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let (name, help) = (self.name, self.help);
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        if self.told.contains(&named) {
            return;
        }
        self.text.push_str(self.name);
        self.text.push_str(&named);
        self.told.insert(named);
        let _ = match value {
            Value::Whole(value) => writeln!(self.text, " {value}"),
            Value::Real(value) => writeln!(self.text, " {value}"),
        };
    }
}

/// As the format says: backslash, quote and line end. Everything else may stand as it is.
fn escape(value: &str, text: &mut String) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            char => text.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_families_left_out() {
        let mut exposition = Exposition::default();
        exposition.gauge("nothing", "Not there.", None::<u64>);
        let mut family = exposition.family(Kind::Gauge, "space_bytes", "Space.");
        family.sample(&[("at", "/a\"b\\c\nd\r"), ("on", "ä")], Some(5_u64));
        family.sample(&[], Some(0.25));
        // Once more is no more.
        family.sample(&[("at", "/a\"b\\c\nd\r"), ("on", "ä")], Some(6_u64));
        family.sample(&[], Some(7_u64));
        exposition.counter("on_total", "Whether.", Some(true));
        assert_eq!(
            exposition.finish(),
            "# HELP space_bytes Space.\n# TYPE space_bytes gauge\n\
             space_bytes{at=\"/a\\\"b\\\\c\\nd\r\",on=\"ä\"} 5\nspace_bytes 0.25\n\
             # HELP on_total Whether.\n# TYPE on_total counter\non_total 1\n"
        );
    }
}
