//! What may be typed for `logs` and `search`: which containers' logs, and which of their lines.

use std::time::SystemTime;

use prost_types::Timestamp;
use turbopanel_control_plane::proto::agent::{LogFilter, LogLevel, LogSelection, OutputStream};

use super::{
    failure::Failure,
    moment::{self, Moment},
    text,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel logs local/web -f --tail 100
  turbopanel logs web-2/db --since 10m --timestamps
  turbopanel logs web-2 --project shop --service web -f --level warn
  turbopanel logs web-2 --label tier=front --grep ' 5[0-9][0-9] ' --exclude /health
  turbopanel logs web-2 --all --since 2026-11-24T08:00:00Z --until 2026-11-24T09:00:00Z")]
pub(crate) struct Logs {
    /// The agent and its container, or the agent alone with a selector.
    #[arg(value_name = "AGENT[/CONTAINER]", value_parser = text::place)]
    pub(crate) place: text::Place,
    #[command(flatten)]
    pub(crate) selectors: Selectors,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Names stand before lines as within this stack.
    #[arg(skip)]
    pub(crate) within: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel search web-2/db 'deadlock detected' -C 3
  turbopanel search web-2 --project shop 'order 4711' --since 2d
  turbopanel search web-2 --all '(?i)out of memory' --limit 1000 --json")]
pub(crate) struct Search {
    /// The agent and its container, or the agent alone with a selector.
    #[arg(value_name = "AGENT[/CONTAINER]", value_parser = text::place)]
    pub(crate) place: text::Place,
    /// A regular expression in the syntax of Rust's crate regex.
    pub(crate) pattern: String,
    #[command(flatten)]
    pub(crate) selectors: Selectors,
    /// So many lines before and after each line that is found.
    #[arg(long, short = 'C', value_name = "LINES")]
    pub(crate) context: Option<u32>,
    /// So many lines before.
    #[arg(long, short = 'B', value_name = "LINES")]
    pub(crate) before: Option<u32>,
    /// So many lines after.
    #[arg(long, short = 'A', value_name = "LINES")]
    pub(crate) after: Option<u32>,
    /// So many lines are found at most, 10000 in all.
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub(crate) limit: u32,
    /// The oldest ones instead of the newest.
    #[arg(long)]
    pub(crate) oldest: bool,
    #[command(flatten)]
    pub(crate) lines: Lines,
}

/// How logs are read.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Reading {
    /// Goes on with what comes, over cuts and restarts: of one container until it ends, of several until it is stopped.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only so many of the last lines, of all containers together, before others are left out by what they say.
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Puts the time before each line.
    #[arg(long, short)]
    pub(crate) timestamps: bool,
    /// Only lines in which this regular expression is found; can be repeated, then one of them.
    #[arg(long, short, value_name = "RE")]
    pub(crate) grep: Vec<String>,
    #[command(flatten)]
    pub(crate) lines: Lines,
}

/// Which containers of the agent.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which containers")]
pub(crate) struct Selectors {
    /// Containers with this label, whatever its value, or with this value of it; can be repeated.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// Containers of this compose project.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Only this service of the project; can be repeated.
    #[arg(long, value_name = "NAME", requires = "project")]
    pub(crate) service: Vec<String>,
    /// All containers of the agent.
    #[arg(long, conflicts_with_all = ["label", "project"])]
    pub(crate) all: bool,
    /// A container by its name or id; can be repeated.
    #[arg(long, short, value_name = "NAME", conflicts_with_all = ["label", "project", "all"])]
    pub(crate) container: Vec<String>,
}

/// Which of their lines.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which lines")]
pub(crate) struct Lines {
    /// Only lines in which none of this regular expression is found; can be repeated.
    #[arg(long, value_name = "RE")]
    pub(crate) exclude: Vec<String>,
    /// Only lines of this level and above: trace, debug, info, warn, error or fatal.
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) level: Option<LogLevel>,
    /// Only from this time on: an age as 10m, 1h30m, 2d, or a time as 2026-11-24T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) since: Option<Moment>,
    /// Only before this time.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) until: Option<Moment>,
    /// Only standard output, unless --stderr is given too.
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Only standard error, unless --stdout is given too.
    #[arg(long)]
    pub(crate) stderr: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name {
        "" => Err("write NAME or NAME=VALUE".to_owned()),
        name => Ok((name.to_owned(), value.to_owned())),
    }
}

fn level(text: &str) -> Result<LogLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(LogLevel::Trace),
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        "fatal" => Ok(LogLevel::Fatal),
        _ => Err("give trace, debug, info, warn, error or fatal".to_owned()),
    }
}

/// A level in one word, for programs.
pub(crate) fn level_name(level: LogLevel) -> Option<&'static str> {
    match level {
        LogLevel::Unspecified => None,
        LogLevel::Trace => Some("trace"),
        LogLevel::Debug => Some("debug"),
        LogLevel::Info => Some("info"),
        LogLevel::Warn => Some("warn"),
        LogLevel::Error => Some("error"),
        LogLevel::Fatal => Some("fatal"),
    }
}

impl Selectors {
    /// The one container that is named with its agent, when nothing else is asked for.
    pub(crate) fn one<'a>(&self, place: &'a text::Place) -> Option<&'a str> {
        let Self {
            label,
            project,
            service: _,
            all,
            container,
        } = self;
        let more = !label.is_empty() || project.is_some() || *all || !container.is_empty();
        place.container.as_deref().filter(|_| !more)
    }

    /// What is selected, the container included that is named with its agent.
    pub(crate) fn selection(&self, place: &text::Place) -> Result<LogSelection, Failure> {
        let named = place.container.iter().chain(&self.container).cloned();
        let selection = LogSelection {
            containers: named.collect(),
            labels: self.label.iter().cloned().collect(),
            project: self.project.clone().unwrap_or_default(),
            all: self.all,
            services: self.service.clone(),
        };
        let by_label = !selection.labels.is_empty() || !selection.project.is_empty();
        match (selection.containers.is_empty(), by_label || self.all) {
            (true, false) => Err(Failure::Argument(format!(
                "which containers: write {agent}/CONTAINER, or give --label, --project or --all",
                agent = place.agent
            ))),
            (false, true) => Err(Failure::Argument(
                "give containers by name, or --label, --project or --all, not both".to_owned(),
            )),
            _ => Ok(selection),
        }
    }
}

impl Lines {
    /// The filter, with these patterns of which one must be found.
    pub(crate) fn filter(&self, include: &[String]) -> Option<LogFilter> {
        let filter = LogFilter {
            include: include.to_vec(),
            exclude: self.exclude.clone(),
            min_level: self.level.unwrap_or_default().into(),
        };
        (filter != LogFilter::default()).then_some(filter)
    }

    /// From when until when.
    pub(crate) fn range(&self, now: SystemTime) -> (Option<Timestamp>, Option<Timestamp>) {
        let at = |moment: Option<Moment>| moment.map(|moment| moment.resolve(now));
        (at(self.since), at(self.until))
    }

    /// Of which outputs.
    pub(crate) fn streams(&self) -> Vec<i32> {
        match (self.stdout, self.stderr) {
            (true, false) => vec![OutputStream::Stdout.into()],
            (false, true) => vec![OutputStream::Stderr.into()],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_or_selected() {
        let place = |text: &str| text::place(text).unwrap();
        let none = Selectors::default();
        assert_eq!(none.one(&place("local/web")), Some("web"));
        assert!(none.selection(&place("local")).is_err());
        let more = Selectors {
            container: vec!["db".to_owned()],
            ..Selectors::default()
        };
        assert_eq!(more.one(&place("local/web")), None);
        assert_eq!(
            more.selection(&place("local/web")).unwrap().containers,
            ["web", "db"]
        );
        let all = Selectors {
            all: true,
            ..Selectors::default()
        };
        assert!(all.selection(&place("local")).unwrap().all);
        assert!(all.selection(&place("local/web")).is_err());
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(label("a").unwrap().1, "");
        assert!(label("=b").is_err());
        assert_eq!(level("WARN").unwrap(), LogLevel::Warn);
        assert!(level("loud").is_err());
    }
}
