//! Log lines as bytes: as they were printed, with times before them, or as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use turbopanel_control_plane::proto::agent::{LogLine, OutputStream};

use super::{moment, output::Side};

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

/// Writes lines, and joins the parts of long ones.
#[derive(Debug)]
pub(crate) struct Printer {
    form: Form,
    out_is_open: bool,
    err_is_open: bool,
}

impl Printer {
    /// Nothing is written yet.
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            out_is_open: false,
            err_is_open: false,
        }
    }

    /// Appends a line; JSON of both outputs goes to standard output.
    pub(crate) fn append(&mut self, line: &LogLine, out: &mut Vec<u8>, err: &mut Vec<u8>) {
        let side = match line.stream() {
            OutputStream::Unspecified | OutputStream::Stdout => Side::Out,
            OutputStream::Stderr => Side::Err,
        };
        if self.form == Form::Json {
            let mut bytes = Bytes::new(side, &line.content);
            bytes.partial = line.partial;
            bytes.time = (line.time_unix_nano != 0).then(|| {
                let mut time = Vec::with_capacity(30);
                moment::append_rfc3339(&mut time, line.time_unix_nano);
                String::from_utf8(time).unwrap_or_default()
            });
            append_json(out, &bytes);
            return;
        }
        let (text, open) = match side {
            Side::Out => (out, &mut self.out_is_open),
            Side::Err => (err, &mut self.err_is_open),
        };
        if self.form == Form::Timestamps && !*open {
            moment::append_rfc3339(text, line.time_unix_nano);
            text.push(b' ');
        }
        text.extend_from_slice(&line.content);
        if !line.partial {
            text.push(b'\n');
        }
        *open = line.partial;
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
            printer.append(&line, &mut out, &mut err);
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
