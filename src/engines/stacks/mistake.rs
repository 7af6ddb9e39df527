//! Where a mistake in a stack's files is. Compose names the place of some of them, and the way to it of others
//! (`services.web.ports`), which is looked up in the files.

use saphyr_parser::{Event, Parser, Span};

use crate::excerpt::{SENTENCE, excerpt};

/// Deeper than this nothing is looked up.
const DEEPEST: usize = 16;
/// What the ways to things begin with.
const SECTIONS: [&str; 5] = ["services", "networks", "volumes", "configs", "secrets"];

/// A file that compose has read.
#[derive(Debug, Clone)]
pub struct Source {
    /// As compose knows it.
    pub path: String,
    /// As the caller knows it.
    pub name: String,
    /// What it holds; empty where it could not be read.
    pub text: String,
}

/// What compose finds wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// In compose's words, without the agent's own paths.
    pub message: String,
    /// The file, as the caller knows it. Empty when it is not known.
    pub file: String,
    /// The line, from 1. 0 when it is not known.
    pub line: usize,
}

impl Mistake {
    /// Finds the place of what compose says. Later sources add to earlier ones.
    pub fn find(message: &str, sources: &[Source]) -> Self {
        let named = sources.iter().find(|source| message.contains(&source.path));
        let told = told_line(message);
        let place = if message.contains("failed to parse") || message.contains("failed to read") {
            let tab = named.filter(|_| message.contains("tab character"));
            let tab = tab.and_then(|source| indenting_tab(&source.text));
            let own = tab.or_else(|| named.and_then(|source| syntax(&source.text)));
            let own = own.or(told);
            named.map(|source| (source, own.unwrap_or_default()))
        } else {
            let among = named.map_or(sources, std::slice::from_ref);
            let found = way(message).and_then(|way| looked_up(&way, among));
            let found = found.or_else(|| value(message, among));
            found.or_else(|| named.map(|source| (source, told.unwrap_or_default())))
        };
        let mut words = message.trim().to_owned();
        for source in sources {
            words = words.replace(&source.path, &source.name);
        }
        let words = words.trim_end_matches(": invalid compose project");
        Self {
            message: excerpt(words, SENTENCE),
            file: place
                .map(|(source, _)| source.name.clone())
                .unwrap_or_default(),
            line: place.map(|(_, line)| line).unwrap_or_default(),
        }
    }
}

/// The line that the message itself tells.
fn told_line(message: &str) -> Option<usize> {
    let (_, after) = message.split_once("line ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The line where a file stops being YAML. Compose tells where the block that holds it begins.
fn syntax(text: &str) -> Option<usize> {
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        if let Err(wrong) = event {
            return Some(wrong.marker().line());
        }
    }
    None
}

/// The first line that is indented by a tab.
fn indenting_tab(text: &str) -> Option<usize> {
    let by_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    text.lines().position(by_tab).map(|index| index + 1)
}

/// The way to what is wrong.
fn way(message: &str) -> Option<String> {
    let direct = SECTIONS.iter().filter_map(|section| {
        let at = message
            .find(&format!("{section}."))
            .or_else(|| message.find(&format!("{section}[")))?;
        let way = message.get(at..)?;
        let end = way.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ':' | ','));
        let way = way.get(..end.unwrap_or(way.len()))?;
        let way = way.replace(['[', ']'], ".").replace("..", ".");
        let way = way.trim_end_matches('.').to_owned();
        // The name of what is too much stands behind it.
        let extra = message.split_once("additional properties '");
        let extra = extra.and_then(|(_, extra)| extra.split('\'').next());
        Some((
            at,
            extra.map_or(way.clone(), |extra| format!("{way}.{extra}")),
        ))
    });
    let direct = direct.min().map(|(_, way)| way);
    direct.or_else(|| {
        let (_, after) = message.split_once("service \"")?;
        let service = after.split('"').next()?;
        let part = [
            ("undefined volume", ".volumes"),
            ("undefined network", ".networks"),
            ("undefined service", ".depends_on"),
            ("undefined config", ".configs"),
            ("undefined secret", ".secrets"),
        ];
        let part = part.iter().find(|(words, _)| message.contains(words));
        Some(format!(
            "services.{service}{}",
            part.map_or("", |(_, part)| part)
        ))
    })
}

/// The line of what is nearest to the end of the way, in the last file that has it.
fn looked_up<'a>(way: &str, sources: &'a [Source]) -> Option<(&'a Source, usize)> {
    let found = sources.iter().filter_map(|source| {
        let (length, line) = nearest(way, &source.text)?;
        Some((length, source, line))
    });
    let (_, source, line) = found.max_by_key(|(length, ..)| *length)?;
    Some((source, line))
}

/// The only line with the value that ends the message.
fn value<'a>(message: &str, sources: &'a [Source]) -> Option<(&'a Source, usize)> {
    const SHORTEST: usize = 3;
    let (_, value) = message.rsplit_once(": ")?;
    let value = value.trim().trim_matches(['"', '\'']);
    if value.len() < SHORTEST || value.contains('\n') {
        return None;
    }
    let lines = sources.iter().flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let with = lines.filter(|(_, line)| line.contains(value));
        with.map(move |(index, _)| (source, index + 1))
    });
    let mut lines = lines.take(2);
    let only = lines.next();
    only.filter(|_| lines.next().is_none())
}

/// A mapping or a sequence that is open.
struct Open {
    /// The way to what is in it.
    way: String,
    /// In a mapping, whether a key comes next; in a sequence, the next index.
    next: Next,
}

enum Next {
    Key,
    Value(String),
    Index(usize),
}

/// How much of the way a file has, and the line there.
fn nearest(way: &str, text: &str) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    let mut open: Vec<Open> = Vec::new();
    // Below what lies too deep.
    let mut skipped = 0_usize;
    let mut parser = Parser::new_from_str(text);
    while let Some(Ok((event, span))) = parser.next_event() {
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..)
                if skipped > 0 || open.len() >= DEEPEST =>
            {
                skipped += 1
            }
            Event::MappingEnd | Event::SequenceEnd if skipped > 0 => skipped -= 1,
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
            }
            _ if skipped > 0 => {}
            Event::MappingStart(..) => {
                let way = entered(&mut open, &span, way, &mut best);
                open.push(Open {
                    way,
                    next: Next::Key,
                });
            }
            Event::SequenceStart(..) => {
                let way = entered(&mut open, &span, way, &mut best);
                let next = Next::Index(0);
                open.push(Open { way, next });
            }
            Event::Scalar(value, ..) => match open.last_mut() {
                Some(Open { way: above, next }) if matches!(next, Next::Key) => {
                    let key = joined(above, &value);
                    note(&key, &span, way, &mut best);
                    *next = Next::Value(key);
                }
                _ => {
                    entered(&mut open, &span, way, &mut best);
                }
            },
            Event::Alias(..) => {
                entered(&mut open, &span, way, &mut best);
            }
            _ => {}
        }
    }
    best
}

/// The way to the value that begins here.
fn entered(
    open: &mut [Open],
    span: &Span,
    wanted: &str,
    best: &mut Option<(usize, usize)>,
) -> String {
    let Some(Open { way, next }) = open.last_mut() else {
        return String::new();
    };
    match std::mem::replace(next, Next::Key) {
        // A key that is no text.
        Next::Key => {
            *next = Next::Value(String::new());
            String::new()
        }
        Next::Value(key) => key,
        Next::Index(index) => {
            *next = Next::Index(index + 1);
            let way = joined(way, &index.to_string());
            note(&way, span, wanted, best);
            way
        }
    }
}

fn joined(above: &str, below: &str) -> String {
    if above.is_empty() {
        below.to_owned()
    } else {
        format!("{above}.{below}")
    }
}

fn note(way: &str, span: &Span, wanted: &str, best: &mut Option<(usize, usize)>) {
    let on = wanted
        .strip_prefix(way)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if on && best.is_none_or(|(length, _)| length < way.len()) {
        *best = Some((way.len(), span.start.line()));
    }
}

#[cfg(test)]
#[path = "mistake_test.rs"]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests;
