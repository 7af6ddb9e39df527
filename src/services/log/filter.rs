//! Which lines a caller wants, decided on the agent so that only those travel.
//!
//! A line that the engine cut into pieces is judged as one, by its first pieces; its pieces are held until it is known whether
//! it is wanted. What is held is bounded for each line and for all together.

use std::{collections::HashMap, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};
use tonic::Status;

use super::level;
use crate::{
    engines::docker::lines::Line,
    proto::{LogFilter, LogLevel},
    services::error,
};

/// Patterns of a kind, at most.
const MOST_PATTERNS: usize = 32;
/// Bytes of a pattern, at most.
const LONGEST_PATTERN: usize = 4 << 10;
/// What a compiled pattern, and what is remembered while it is looked for, may take.
const PATTERN_SIZE: usize = 1 << 20;
/// A line is judged by so many of its first bytes.
const JUDGED: usize = 256 << 10;
/// So many bytes are held of all lines that are not judged yet.
const HELD: usize = 2 << 20;

/// What makes a line a wanted one.
#[derive(Debug, Default)]
pub(super) struct Filter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    min_level: Option<LogLevel>,
    with_levels: bool,
}

impl Filter {
    /// Reads a filter.
    pub(super) fn parse(filter: Option<LogFilter>, with_levels: bool) -> Result<Self, Status> {
        let filter = filter.unwrap_or_default();
        let min_level = match LogLevel::try_from(filter.min_level) {
            Ok(LogLevel::Unspecified) => None,
            Ok(level) => Some(level),
            Err(_) => {
                return Err(error::invalid(
                    "filter.min_level",
                    &filter.min_level.to_string(),
                    "give one of the values of LogLevel",
                ));
            }
        };
        Ok(Self {
            include: patterns("filter.include", &filter.include)?,
            exclude: patterns("filter.exclude", &filter.exclude)?,
            with_levels: with_levels || min_level.is_some(),
            min_level,
        })
    }

    /// A filter that finds this pattern, too.
    pub(super) fn and(mut self, field: &str, pattern: &str) -> Result<Self, Status> {
        if self.include.is_empty() {
            self.include.push(self::pattern(field, pattern)?);
            return Ok(self);
        }
        Err(error::invalid(
            "filter.include",
            pattern,
            "give one of `pattern` and `filter.include`",
        ))
    }

    /// Every line is wanted, and nothing need be known of it.
    pub(super) fn is_open(&self) -> bool {
        !self.chooses() && !self.with_levels
    }

    /// Not every line is wanted.
    pub(super) fn chooses(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty() || self.min_level.is_some()
    }

    fn wants(&self, text: &[u8], level: LogLevel) -> bool {
        self.min_level
            .is_none_or(|least| level as i32 >= least as i32)
            && (self.include.is_empty() || self.include.iter().any(|one| one.is_match(text)))
            && !self.exclude.iter().any(|one| one.is_match(text))
    }
}

fn patterns(field: &str, patterns: &[String]) -> Result<Vec<Regex>, Status> {
    if patterns.len() > MOST_PATTERNS {
        let mend = format!(
            "give at most {MOST_PATTERNS} patterns; one may hold several, joined with \"|\""
        );
        return Err(error::invalid(field, &patterns.len().to_string(), mend));
    }
    patterns.iter().map(|text| pattern(field, text)).collect()
}

/// Compiles a pattern; what is wrong with it is told with its place.
fn pattern(field: &str, text: &str) -> Result<Regex, Status> {
    if text.len() > LONGEST_PATTERN {
        let mend = format!("a pattern has at most {LONGEST_PATTERN} bytes");
        return Err(error::invalid(field, text, mend));
    }
    let built = RegexBuilder::new(text)
        .size_limit(PATTERN_SIZE)
        .dfa_size_limit(PATTERN_SIZE)
        .nest_limit(64)
        .build();
    built.map_err(|wrong| {
        let parsed = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .nest_limit(64)
            .build()
            .parse(text);
        let why = match parsed {
            Err(regex_syntax::Error::Parse(wrong)) => {
                format!("character {}: {}", wrong.span().start.column, wrong.kind())
            }
            Err(regex_syntax::Error::Translate(wrong)) => {
                format!("character {}: {}", wrong.span().start.column, wrong.kind())
            }
            // The text is right, and what it stands for is too much.
            _ => match wrong {
                regex::Error::CompiledTooBig(_) => {
                    "it stands for too much: repeat less, or give less to choose from".to_owned()
                }
                other => other.to_string(),
            },
        };
        error::invalid(
            field,
            text,
            format!("{why}; the syntax is that of Rust's crate regex"),
        )
    })
}

/// A line of which some pieces have come.
#[derive(Debug, Default)]
struct Open {
    /// Not judged yet.
    held: Vec<Line>,
    joined: Vec<u8>,
    /// What was found, for the pieces that follow.
    verdict: Option<(bool, LogLevel)>,
    /// Of the line before.
    level: Option<LogLevel>,
    traceback: bool,
}

/// Judges lines as they come.
#[derive(Debug)]
pub(super) struct Judge {
    filter: Arc<Filter>,
    open: HashMap<(u32, bool), Open>,
    /// Lines that have come in part.
    parts: usize,
    held: usize,
}

impl Judge {
    /// Nothing has come yet.
    pub(super) fn new(filter: Arc<Filter>) -> Self {
        Self {
            filter,
            open: HashMap::new(),
            parts: 0,
            held: 0,
        }
    }

    /// Takes a line of a source; gives lines that are judged, with their level and whether they are wanted.
    pub(super) fn judge(
        &mut self,
        source: u32,
        line: Line,
        give: &mut impl FnMut(Line, LogLevel, bool),
    ) {
        let filter = &*self.filter;
        if self.parts == 0 && !line.partial && !filter.with_levels {
            let wanted = filter.wants(&line.content, LogLevel::Unspecified);
            return give(line, LogLevel::Unspecified, wanted);
        }
        let open = self.open.entry((source, line.stderr)).or_default();
        if let Some((wanted, level)) = open.verdict {
            if !line.partial {
                open.verdict = None;
                self.parts = self.parts.saturating_sub(1);
            }
            return give(line, level, wanted);
        }
        let ends = !line.partial;
        if open.held.is_empty() && (ends || !filter.chooses()) {
            let level = open.level(filter, &line.content);
            let wanted = filter.wants(&line.content, level);
            if !ends {
                open.verdict = Some((wanted, level));
                self.parts += 1;
            }
            return give(line, level, wanted);
        }
        if open.held.is_empty() {
            self.parts += 1;
        }
        self.held += line.content.len();
        open.joined.extend_from_slice(&line.content);
        open.held.push(line);
        if !ends && open.joined.len() < JUDGED && self.held < HELD {
            return;
        }
        let joined = std::mem::take(&mut open.joined);
        let level = open.level(filter, &joined);
        let wanted = filter.wants(&joined, level);
        self.held = self.held.saturating_sub(joined.len());
        if ends {
            self.parts = self.parts.saturating_sub(1);
        } else {
            open.verdict = Some((wanted, level));
        }
        for line in open.held.drain(..) {
            give(line, level, wanted);
        }
        open.held = Vec::new();
    }

    /// Those of which something has come.
    pub(super) fn sources(&self) -> Vec<u32> {
        let mut sources: Vec<u32> = self.open.keys().map(|(source, _)| *source).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// No more comes of a source; gives what was not judged, a last line without its end.
    pub(super) fn finish(&mut self, source: u32, give: &mut impl FnMut(Line, LogLevel, bool)) {
        for stderr in [false, true] {
            let Some(mut open) = self.open.remove(&(source, stderr)) else {
                continue;
            };
            if open.verdict.is_some() || !open.held.is_empty() {
                self.parts = self.parts.saturating_sub(1);
            }
            let joined = std::mem::take(&mut open.joined);
            self.held = self.held.saturating_sub(joined.len());
            if !open.held.is_empty() {
                let level = open.level(&self.filter, &joined);
                let wanted = self.filter.wants(&joined, level);
                for line in open.held {
                    give(line, level, wanted);
                }
            }
        }
    }
}

impl Open {
    /// The level that a line has, by itself or after the one before.
    fn level(&mut self, filter: &Filter, text: &[u8]) -> LogLevel {
        if !filter.with_levels {
            return LogLevel::Unspecified;
        }
        let own = level::of(text);
        let inherits = own.is_none() && (self.traceback || level::goes_on(text));
        let indented = matches!(text.first(), Some(b' ' | b'\t'));
        if level::is_traceback(text) {
            self.traceback = true;
        } else if !indented {
            self.traceback = false;
        }
        self.level = if inherits { self.level } else { own };
        self.level.unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "filter_test.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
