//! What may be typed after `turbopanel stack`, with the help for it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::{moment, selectors};

#[derive(Debug, Subcommand)]
pub(crate) enum StackAction {
    /// Lists an agent's stacks, whoever made them.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  turbopanel stack ls web-2"
    )]
    Ls {
        /// The agent's name.
        agent: String,
    },
    /// Lists the containers of a stack.
    #[command(after_help = "Examples:\n  turbopanel stack ps web-2 shop")]
    Ps(Stack),
    /// Prints what the containers of a stack have printed, merged by time.
    #[command(
        after_help = "Examples:\n  turbopanel stack logs web-2 shop -f --tail 100\n  turbopanel stack logs web-2 shop web worker --since 10m --level warn\n  turbopanel stack logs web-2 shop db --grep 'deadlock' --timestamps"
    )]
    Logs(Logs),
    /// Checks a stack's files and shows what compose makes of them; changes nothing.
    #[command(
        after_help = "Examples:\n  turbopanel stack config web-2 shop -f compose.yaml\n  turbopanel stack config web-2 shop --quiet && echo it holds"
    )]
    Config {
        #[command(flatten)]
        stack: Stack,
        #[command(flatten)]
        files: Files,
        /// Shows values that may be secrets, too.
        #[arg(long)]
        values: bool,
        /// Shows nothing when the files hold.
        #[arg(long, short, conflicts_with = "values")]
        quiet: bool,
    },
    /// Brings a stack up: makes what is missing, and makes anew what has changed.
    #[command(
        after_help = "Examples:\n  turbopanel stack up web-2 shop -f compose.yaml --wait\n  turbopanel stack up web-2 shop -f compose.yaml --env-file prod.env --with conf\n  turbopanel stack up web-2 shop --pull always     (by the files that the agent has)\n\nCtrl-C cancels it; a second Ctrl-C leaves it to itself."
    )]
    Up(Up),
    /// Stops and removes a stack's containers and networks.
    #[command(
        after_help = "Examples:\n  turbopanel stack down web-2 shop\n  turbopanel stack down web-2 shop --volumes --forget"
    )]
    Down {
        #[command(flatten)]
        stack: Stack,
        #[command(flatten)]
        how: How,
        /// Also removes its volumes, with what they hold.
        #[arg(long, short)]
        volumes: bool,
        /// Also removes images: those that compose built, or all that it uses.
        #[arg(long, value_name = "WHICH")]
        rmi: Option<Images>,
        /// How long containers may take to stop, for example 30s.
        #[arg(long, short, value_name = "TIME", value_parser = moment::span)]
        timeout: Option<Duration>,
        /// Also forgets the files that the agent keeps of it.
        #[arg(long)]
        forget: bool,
    },
    /// Stops and starts a stack's containers as they are.
    #[command(
        after_help = "Examples:\n  turbopanel stack restart web-2 shop\n  turbopanel stack restart web-2 shop web worker"
    )]
    Restart {
        #[command(flatten)]
        stack: Stack,
        /// Only these services.
        services: Vec<String>,
        #[command(flatten)]
        how: How,
        /// How long containers may take to stop, for example 30s.
        #[arg(long, short, value_name = "TIME", value_parser = moment::span)]
        timeout: Option<Duration>,
    },
    /// Pulls a stack's images.
    #[command(
        after_help = "Examples:\n  turbopanel stack pull web-2 shop\n  turbopanel stack pull web-2 shop -f compose.yaml"
    )]
    Pull {
        #[command(flatten)]
        stack: Stack,
        /// Only those of these services.
        services: Vec<String>,
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) stack: Stack,
    /// Only these services.
    pub(crate) services: Vec<String>,
    #[command(flatten)]
    pub(crate) reading: selectors::Reading,
}

/// Which stack.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stack {
    /// The agent's name.
    pub(crate) agent: String,
    /// The stack's name (compose calls it a project).
    #[arg(value_name = "STACK")]
    pub(crate) name: String,
}

/// Files that are sent. Without any, the agent takes those that it has.
#[derive(Args, Clone, Debug)]
pub(crate) struct Files {
    /// A compose file to send; can be repeated, later ones add to earlier ones. The first one's folder is the project's.
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    pub(crate) compose: Vec<PathBuf>,
    /// A file with variables for the compose files [default: .env in the project's folder, if there is one].
    #[arg(long, value_name = "FILE", requires = "compose")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Another file or folder that the stack needs, to send with it; can be repeated.
    #[arg(long, value_name = "PATH", requires = "compose")]
    pub(crate) with: Vec<PathBuf>,
    /// A profile to switch on; can be repeated.
    #[arg(long, value_name = "NAME", requires = "compose")]
    pub(crate) profile: Vec<String>,
}

/// How an operation is begun and shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// Prints the operation's id and does not wait for its end.
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Runs once, however often it is asked for with this id.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) request_id: String,
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stack: Stack,
    /// Only these services and what they depend on.
    pub(crate) services: Vec<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) how: How,
    /// When images are pulled [default: as the files say, else when one is missing].
    #[arg(long, value_name = "WHEN")]
    pub(crate) pull: Option<Pull>,
    /// Builds images even if they are there.
    #[arg(long, conflicts_with = "no_build")]
    pub(crate) build: bool,
    /// Builds no images.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Makes containers anew even if nothing has changed.
    #[arg(long, conflicts_with = "no_recreate")]
    pub(crate) force_recreate: bool,
    /// Leaves containers as they are even if something has changed.
    #[arg(long)]
    pub(crate) no_recreate: bool,
    /// Removes containers of services that the files do not name any more.
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Waits until the services run, or are healthy where they have a health check.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most, for example 5m.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = moment::span)]
    pub(crate) wait_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Pull {
    Always,
    Missing,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Images {
    Local,
    All,
}
