//! What may be typed, with the help for it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::{
    copy, events,
    image_args::{Images, Pull, Recreate},
    lifecycle, moment, networks,
    selectors::{Logs, Search},
    stack::args::StackAction,
    text, volumes,
};

const EXIT_CODES: &str = "Exit codes:
  0  done   1  failed   2  wrong usage   3  control plane, agent or engine not reachable
  exec passes on the command's own code: 128+n after signal n, 124 after --timeout,
  127 when there is no such program, 126 when it may not be run";

/// Runs a TurboPanel control plane, and drives the agents connected to one.
#[derive(Debug, Parser)]
#[command(name = "turbopanel", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) whom: Whom,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which control plane, and as whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Control plane")]
pub(crate) struct Whom {
    /// URL of the control plane.
    #[arg(
        long,
        global = true,
        env = "TURBOPANEL_URL",
        default_value = "http://127.0.0.1:18282",
        hide_env_values = true
    )]
    pub(crate) url: String,
    /// File that holds the token; TURBOPANEL_TOKEN may hold the token itself.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TURBOPANEL_TOKEN_FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Where a control plane on this machine keeps its state, its administrator's token included
    /// [default: /var/lib/turbopanel for root, else turbopanel in the XDG state directory].
    #[arg(long, global = true, value_name = "DIR", env = "TURBOPANEL_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Sends the token over http:// to public addresses too, where everybody on the way sees it.
    #[arg(long, global = true, env = "TURBOPANEL_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) allow_plaintext: bool,
    /// Prints JSON for programs (docs/cli.md describes it).
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a control plane with an agent for this machine built in.
    Serve(Serve),
    /// Lists the agents, or removes one.
    #[command(
        after_help = "Examples:\n  turbopanel agents\n  turbopanel agents --json | jq '.[] | select(.connected | not)'\n  turbopanel agents remove web-2"
    )]
    Agents {
        #[command(subcommand)]
        action: Option<AgentsAction>,
    },
    /// Shows how an agent and its host are doing.
    #[command(after_help = "Examples:\n  turbopanel status local")]
    Status {
        /// The agent's name.
        agent: String,
    },
    /// Lists running containers, of one agent or of all that are connected.
    #[command(after_help = "Examples:\n  turbopanel ps\n  turbopanel ps web-2 --all")]
    Ps {
        /// The agent's name.
        agent: Option<String>,
        /// Also containers that do not run.
        #[arg(long, short)]
        all: bool,
    },
    /// Shows what running containers use, again and again on a terminal; without an agent, of all that are connected.
    #[command(
        after_help = "Examples:\n  turbopanel stats\n  turbopanel stats web-2/db\n  turbopanel stats web-2 --json | jq '.[] | select(.cpu_percent > 50) | .name'"
    )]
    Stats {
        /// The agent, or the agent and its container.
        #[arg(value_name = "AGENT[/CONTAINER]", value_parser = text::place)]
        place: Option<text::Place>,
        /// Prints once, on a terminal too.
        #[arg(long, visible_alias = "no-stream")]
        once: bool,
    },
    /// Shows how an agent's host is doing, and its busiest and largest processes, again and again on a terminal.
    Top(Top),
    /// Prints what containers have printed, byte for byte.
    Logs(Logs),
    /// Finds lines in the logs of containers, and prints them with their times.
    Search(Search),
    /// Runs a command on an agent's host or in one of its containers.
    Exec(Exec),
    /// Starts a container.
    Start(lifecycle::Start),
    /// Stops a container: its stop signal, then SIGKILL after the grace.
    Stop(lifecycle::Stop),
    /// Stops and starts a container.
    Restart(lifecycle::Stop),
    /// Removes a container.
    Rm(lifecycle::Remove),
    /// Copies files out of a container, or into one.
    Cp(copy::Copy),
    /// Lists the networks of an agent.
    Networks(networks::Networks),
    /// Lists the volumes of an agent.
    Volumes(volumes::Volumes),
    /// Prints what happens in an agent's container engine.
    Events(events::Events),
    /// Lists the images on an agent's host.
    Images(Images),
    /// Pulls an image onto an agent's host.
    Pull(Pull),
    /// Pulls a container's image and puts a new container in its place, or the old one back when the new one is not healthy.
    Recreate(Recreate),
    /// Lists stacks (compose projects), checks their files, brings them up and takes them down.
    Stack {
        #[command(subcommand)]
        action: StackAction,
    },
    /// Lists, watches or cancels work that outlives whoever began it: pulls, builds, stacks.
    Operations {
        #[command(subcommand)]
        action: OperationsAction,
    },
    /// Makes, lists and revokes tokens.
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Prints a completion script for a shell.
    #[command(
        after_help = "Examples:\n  turbopanel completions bash > /etc/bash_completion.d/turbopanel"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  turbopanel serve\n  turbopanel serve --listen 0.0.0.0:18282 --public-url https://panel.example.com"
)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes any free port.
    #[arg(long, env = "TURBOPANEL_LISTEN", default_value = "127.0.0.1:18282")]
    pub(crate) listen: SocketAddr,
    /// Runs no agent for this machine.
    #[arg(long, env = "TURBOPANEL_NO_INTEGRATED_AGENT", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_integrated_agent: bool,
    /// URL under which agents reach this control plane, when it differs from --listen.
    #[arg(long, env = "TURBOPANEL_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// The container engine of the integrated agent [default: unix:///var/run/docker.sock].
    #[arg(long, env = "DOCKER_HOST", value_name = "ADDRESS")]
    pub(crate) docker_host: Option<String>,
    /// Over how long agents spread their dials when they come back, 5m at most: long for a big fleet.
    #[arg(long, env = "TURBOPANEL_REDIAL_SPREAD", default_value = "3s", value_name = "TIME", value_parser = moment::spread)]
    pub(crate) redial_spread: Duration,
    /// How much is logged: debug, info, warn or error.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL", ignore_case = true, value_parser = ["debug", "info", "warn", "error"])]
    pub(crate) log_level: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel top local
  turbopanel top web-2 --processes 5 --once
  turbopanel top web-2 --json | jq .memory")]
pub(crate) struct Top {
    /// The agent's name.
    pub(crate) agent: String,
    /// So many by CPU, and as many by memory; 0 for none.
    #[arg(long, short = 'n', default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) processes: u32,
    /// Shows command lines instead of names: they may hold secrets.
    #[arg(long)]
    pub(crate) command_lines: bool,
    /// Prints once, on a terminal too.
    #[arg(long, visible_alias = "no-stream")]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsAction {
    /// Forgets an agent, revokes its tokens and ends its connection.
    #[command(after_help = "Examples:\n  turbopanel agents remove web-2")]
    Remove {
        /// The agent's name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationsAction {
    /// Lists operations, newest first; ended ones are kept for 30 minutes.
    #[command(after_help = "Examples:\n  turbopanel operations list web-2 --running")]
    List {
        /// The agent's name.
        agent: String,
        /// Only those that run.
        #[arg(long)]
        running: bool,
    },
    /// Shows an operation from its start until it ends. Ctrl-C cancels it, a second Ctrl-C leaves it to itself.
    #[command(
        after_help = "Examples:\n  turbopanel operations watch web-2 0123456789abcdef0123456789abcdef"
    )]
    Watch {
        /// The agent's name.
        agent: String,
        /// The operation's id, as `operations list` shows it.
        id: String,
        /// Only what came after this position, as --json shows it.
        #[arg(long, value_name = "POSITION", default_value_t = 0)]
        after: u64,
    },
    /// Asks an operation to end.
    #[command(
        after_help = "Examples:\n  turbopanel operations cancel web-2 0123456789abcdef0123456789abcdef"
    )]
    Cancel {
        /// The agent's name.
        agent: String,
        /// The operation's id.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenAction {
    /// Makes a token and prints the line that lets a new server join.
    #[command(
        after_help = "Examples:\n  turbopanel token create web-2\n  turbopanel token create deploys --admin"
    )]
    Create {
        /// The agent's name; with --admin, what the token is for.
        name: String,
        /// A token for callers (people, programs) instead of an agent.
        #[arg(long)]
        admin: bool,
    },
    /// Lists tokens, never their secrets.
    #[command(
        after_help = "Examples:\n  turbopanel token list\n  turbopanel token list --all --json | jq -r '.[] | select(.name == \"web-2\") | .id'"
    )]
    List {
        /// Also revoked ones.
        #[arg(long, short)]
        all: bool,
    },
    /// Revokes a token and ends the connections that it opened.
    #[command(after_help = "Examples:\n  turbopanel token revoke 0123456789abcdef")]
    Revoke {
        /// The token's id, as `token list` shows it.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel exec local -- uname -a
  turbopanel exec web-2/db -e PGUSER=app -- psql -c 'select 1'
  turbopanel exec web-2/db -- sh -c 'cat > /tmp/x' < x

Ctrl-C sends SIGINT to the command; a second Ctrl-C kills it.")]
pub(crate) struct Exec {
    /// The agent, or the agent and its container.
    #[arg(value_name = "AGENT[/CONTAINER]", value_parser = text::place)]
    pub(crate) place: text::Place,
    /// Sets an environment variable; can be repeated.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = text::variable)]
    pub(crate) env: Vec<(String, String)>,
    /// The working directory.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The user that the command runs as.
    #[arg(long, short, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Kills the command after this time, for example 30s or 5m.
    #[arg(long, value_name = "TIME", value_parser = moment::span)]
    pub(crate) timeout: Option<Duration>,
    /// Forwards standard input even from a terminal.
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_holds() {
        Args::command().debug_assert();
    }

    #[test]
    fn exec_keeps_the_commands_own_flags() {
        let args =
            parse("turbopanel exec web-2/db -e A=b=c --timeout 1m30s -- ls -la --json").unwrap();
        let Command::Exec(exec) = args.command else {
            panic!("not exec")
        };
        assert_eq!(exec.command, ["ls", "-la", "--json"]);
        assert_eq!(exec.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(exec.timeout, Some(Duration::from_secs(90)));
        assert_eq!(exec.place.container.as_deref(), Some("db"));
        assert!(!args.whom.json);
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        for line in [
            "turbopanel",
            "turbopanel exec local",
            "turbopanel exec local --",
            "turbopanel exec local -e NOVALUE -- ls",
            "turbopanel logs",
            "turbopanel logs local --all --project x",
            "turbopanel logs local/web --level loud",
            "turbopanel search local/web",
            "turbopanel logs local/a/b",
            "turbopanel logs local/web --since yesterday",
            "turbopanel serve --listen nowhere",
            "turbopanel serve --redial-spread 301s",
            "turbopanel serve --redial-spread 3",
            "turbopanel token create",
            "turbopanel rm local",
            "turbopanel cp local/web:/a",
            "turbopanel events local --since tomorrow",
            "turbopanel --token secret agents",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn which_control_plane_may_be_said_before_or_after_the_command() {
        for line in [
            "turbopanel --url http://x:1 agents",
            "turbopanel agents --url http://x:1",
        ] {
            assert_eq!(parse(line).unwrap().whom.url, "http://x:1");
        }
    }
}
