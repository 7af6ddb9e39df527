//! Log lines as bytes: as they were printed, with times before them, or as JSON.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use turbopanel_control_plane::proto::agent::{LogLine, LogSource, OutputStream};

use super::{colour::numbered, moment, output::Side, selectors::level_name, text::safe};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Raw,
    Timestamps,
    Json,
}

/// Bytes, one line of JSON each: text when they are text, else base64.
#[derive(Serialize)]
pub(crate) struct Bytes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    around: bool,
}

impl<'a> Bytes<'a> {
    /// Bytes of one of a process's outputs.
    pub(crate) fn new(side: Side, bytes: &'a [u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        Self {
            time: None,
            stream: match side {
                Side::Out => "stdout",
                Side::Err => "stderr",
            },
            text,
            base64: text.is_none().then(|| STANDARD.encode(bytes)),
            partial: false,
            container: None,
            service: None,
            level: None,
            around: false,
        }
    }
}

/// Appends a value as a line of JSON.
pub(crate) fn append_json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Neither a vector nor these types can fail to be written.
    if serde_json::to_writer(&mut *out, value).is_ok() {
        out.push(b'\n');
    }
}

/// What a container is called.
#[derive(Debug)]
struct Names {
    container: String,
    /// As it is shown before lines.
    shown: String,
    /// Its service in its stack. Empty: none.
    service: String,
}

/// Writes lines, and joins the parts of long ones.
#[derive(Debug)]
pub(crate) struct Printer {
    form: Form,
    /// The lines that go on, of standard output and of standard error: their sources.
    out_goes_on: Option<u32>,
    err_goes_on: Option<u32>,
    names: HashMap<u32, Names>,
    /// Names stand before lines, in colours or not.
    prefix: Option<bool>,
    /// Those of this stack's containers without its own.
    within: Option<String>,
}

impl Printer {
    /// Nothing is written yet.
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            out_goes_on: None,
            err_goes_on: None,
            names: HashMap::new(),
            prefix: None,
            within: None,
        }
    }

    /// Puts the container's name before each line; of one of this stack as compose shows it.
    pub(crate) fn name_sources(&mut self, colours: bool, within: Option<&str>) {
        self.prefix = Some(colours);
        self.within = within.map(str::to_owned);
    }

    /// Takes note of containers.
    pub(crate) fn sources(&mut self, sources: &[LogSource]) {
        for source in sources {
            let name = source.container_name.as_str();
            let stack = self.within.as_deref();
            let shown = stack
                .and_then(|stack| name.strip_prefix(stack)?.strip_prefix(['-', '_']))
                .filter(|shown| !shown.is_empty());
            let names = Names {
                container: name.to_owned(),
                shown: shown.unwrap_or(name).to_owned(),
                service: source.service.clone(),
            };
            self.names.insert(source.index, names);
        }
    }

    /// A container's name, if it was told.
    pub(crate) fn name(&self, source: u32) -> Option<&str> {
        Some(&self.names.get(&source)?.container)
    }

    /// Where a line goes: JSON of both outputs to standard output.
    pub(crate) fn side(&self, line: &LogLine) -> Side {
        match self.form {
            Form::Json => Side::Out,
            Form::Raw | Form::Timestamps => side(line),
        }
    }

    /// Appends a line to what goes to its side.
    pub(crate) fn append(&mut self, line: &LogLine, text: &mut Vec<u8>) {
        match self.form {
            Form::Json => append_json(text, &self.value(line)),
            Form::Raw | Form::Timestamps => self.append_text(line, side(line), text),
        }
    }

    /// Appends a line that was found, or is around one that was; all to standard output.
    pub(crate) fn append_found(&mut self, line: &LogLine, found: bool, out: &mut Vec<u8>) {
        if self.form == Form::Json {
            let mut value = self.value(line);
            value.around = !found;
            append_json(out, &value);
        } else {
            self.append_text(line, Side::Out, out);
        }
    }

    /// Ends a line that goes on elsewhere.
    pub(crate) fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.out_goes_on.take().is_some() {
            out.push(b'\n');
        }
    }

    fn value<'a>(&'a self, line: &'a LogLine) -> Bytes<'a> {
        let mut bytes = Bytes::new(side(line), &line.content);
        bytes.partial = line.partial;
        bytes.container = self.name(line.source);
        let service = self.names.get(&line.source).map(|names| &names.service);
        bytes.service = service.map(String::as_str).filter(|name| !name.is_empty());
        bytes.level = level_name(line.level());
        bytes.time = (line.time_unix_nano != 0).then(|| {
            let mut time = Vec::with_capacity(30);
            moment::append_rfc3339(&mut time, line.time_unix_nano);
            String::from_utf8(time).unwrap_or_default()
        });
        bytes
    }

    fn append_text(&mut self, line: &LogLine, side: Side, text: &mut Vec<u8>) {
        let goes_on = match side {
            Side::Out => &mut self.out_goes_on,
            Side::Err => &mut self.err_goes_on,
        };
        if *goes_on != Some(line.source) {
            if goes_on.is_some() {
                text.push(b'\n');
            }
            if self.form == Form::Timestamps {
                moment::append_rfc3339(text, line.time_unix_nano);
                text.push(b' ');
            }
            if let (Some(colours), Some(names)) = (self.prefix, self.names.get(&line.source)) {
                let name = safe(&names.shown);
                text.extend_from_slice(numbered(&name, line.source, colours).as_bytes());
                text.extend_from_slice(b" | ");
            }
        }
        text.extend_from_slice(&line.content);
        if !line.partial {
            text.push(b'\n');
        }
        *goes_on = line.partial.then_some(line.source);
    }
}

fn side(line: &LogLine) -> Side {
    match line.stream() {
        OutputStream::Unspecified | OutputStream::Stdout => Side::Out,
        OutputStream::Stderr => Side::Err,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(form: Form, lines: &[(i64, OutputStream, &[u8], bool)]) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::new(form);
        for (time, stream, content, partial) in lines {
            let line = LogLine {
                time_unix_nano: *time,
                stream: (*stream).into(),
                content: content.to_vec().into(),
                partial: *partial,
                ..LogLine::default()
            };
            match printer.side(&line) {
                Side::Out => printer.append(&line, &mut out),
                Side::Err => printer.append(&line, &mut err),
            }
        }
        (out, err)
    }

    #[test]
    fn parts_of_a_line_are_joined_and_bytes_stay_bytes() {
        use OutputStream::{Stderr, Stdout};
        let lines: &[(i64, OutputStream, &[u8], bool)] = &[
            (1, Stdout, b"\x01\0\0\0\x7f\xff", true),
            (2, Stderr, b"oh", false),
            (3, Stdout, b"rest", false),
        ];
        let (out, err) = print(Form::Raw, lines);
        assert_eq!(
            (out.as_slice(), err.as_slice()),
            (&b"\x01\0\0\0\x7f\xffrest\n"[..], &b"oh\n"[..])
        );
        let (out, _) = print(Form::Timestamps, lines);
        assert_eq!(
            out,
            b"1970-01-01T00:00:00.000000001Z \x01\0\0\0\x7f\xffrest\n"
        );
    }

    #[test]
    fn lines_of_several_say_whose_they_are() {
        let line = |source: u32, text: &'static [u8], partial: bool| LogLine {
            source,
            content: text.into(),
            partial,
            ..LogLine::default()
        };
        let named = |index: u32, name: &str| LogSource {
            index,
            container_name: name.to_owned(),
            ..LogSource::default()
        };
        let mut printer = Printer::new(Form::Raw);
        printer.name_sources(false, None);
        printer.sources(&[named(1, "web"), named(2, "db")]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for line in [
            line(1, b"a", true),
            line(1, b"b", false),
            line(2, b"c", true),
            line(1, b"d", false),
        ] {
            match printer.side(&line) {
                Side::Out => printer.append(&line, &mut out),
                Side::Err => printer.append(&line, &mut err),
            }
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "web | ab\ndb | c\nweb | d\n"
        );
    }

    #[test]
    fn programs_get_text_or_base64() {
        let (out, err) = print(
            Form::Json,
            &[
                (1, OutputStream::Stdout, "a\"ü".as_bytes(), false),
                (0, OutputStream::Stderr, b"\xff", true),
            ],
        );
        assert!(err.is_empty());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000000001Z\",\"stream\":\"stdout\",\"text\":\"a\\\"ü\"}\n{\"stream\":\"stderr\",\"base64\":\"/w==\",\"partial\":true}\n"
        );
    }
}
