//! `turbopanel-agent`: parses, sets up logging, runs, and returns an exit code.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, error::ErrorKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};
use turbopanel_agent::{
    VERSION,
    config::{self, Cli, Command, Config, LogLevel, Problems},
    router::local,
    supervisor::{self, RunError},
};

/// What moves much here moves it in pieces of some 64 KiB, which musl's own allocator would map and unmap each time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// sysexits.h: a service is not available.
const UNAVAILABLE: u8 = 69;
/// sysexits.h: something is wrong with the configuration.
const CONFIG: u8 = 78;
/// Files that the agent opens, at most.
const OPEN_FILES: u64 = 16 * 1024;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            let _ = error.print();
            if error.kind() == ErrorKind::ArgumentConflict {
                complain("write flags after the command: turbopanel-agent health --port 18284");
            }
            return ExitCode::from(if help { 0 } else { 2 });
        }
    };
    match cli.command {
        Some(Command::Version) => {
            say(&format!("turbopanel-agent {VERSION}"));
            ExitCode::SUCCESS
        }
        Some(Command::Health { port }) => match config::port(port, variable) {
            Ok(port) => health(port),
            Err(problems) => misconfigured(&problems),
        },
        Some(Command::Run(flags)) => run(Config::read(&flags, variable)),
        None => run(Config::read(&cli.flags, variable)),
    }
}

/// The one place where the environment is read.
#[expect(
    clippy::disallowed_methods,
    reason = "configuration is read here, once"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn run(config: Result<Config, Problems>) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(problems) => return misconfigured(&problems),
    };
    log_to_stderr(&config);
    let _ = rustls::crypto::ring::default_provider().install_default();
    raise_open_files();
    block_on(async {
        let stop = CancellationToken::new();
        let ended = tokio::select! {
            biased;
            // What runs is dropped, and commands are killed with that.
            () = asked_twice(&stop) => return ExitCode::FAILURE,
            ended = supervisor::run(config, stop.cancelled()) => ended,
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::from(match error {
                    RunError::Port { .. } => UNAVAILABLE,
                    RunError::Serving(_) => 1,
                })
            }
        }
    })
}

/// Connections and commands are open files, and the usual limit of 1024 is for programs that have a few. More
/// than the agent's own limits allow is of no use, and commands inherit it.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit
        .maximum
        .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_none_or(|current| current >= enough) {
        return;
    }
    let raised = Rlimit {
        current: Some(enough),
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(limit = limit.current, %error, "the limit on open files could not be raised");
    }
}

/// One thread does the work; what blocks, as name look-ups and the start of commands do, borrows another.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(1))
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            runtime.shutdown_timeout(Duration::from_millis(100));
            code
        }
        Err(error) => {
            complain(&format!("the system gives no event queue: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Asks for a stop at the first SIGTERM or SIGINT; returns at the second, which is to end all at once.
async fn asked_twice(stop: &CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.is_cancelled() {
            return;
        }
        stop.cancel();
    }
}

fn log_to_stderr(config: &Config) {
    let level = match config.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // Libraries stay quiet: bollard would log every variable of a container.
    let libraries = LevelFilter::WARN.min(level);
    let targets = Targets::new()
        .with_default(libraries)
        .with_target("turbopanel", level)
        .with_target("turbopanel_agent", level)
        .with_target("turbopanel_tunnel", level);
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(config.colours && std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(targets)
        .with(format)
        .init();
}

/// Asks the agent on this machine, as a container's HEALTHCHECK does.
fn health(port: u16) -> ExitCode {
    block_on(async {
        match local::is_serving(port).await {
            Ok(()) => {
                say("serving");
                ExitCode::SUCCESS
            }
            Err(reason) => {
                complain(&format!("not serving on port {port}: {reason}"));
                ExitCode::FAILURE
            }
        }
    })
}

fn misconfigured(problems: &Problems) -> ExitCode {
    complain(&format!("{problems}\nSee turbopanel-agent --help."));
    ExitCode::from(CONFIG)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "turbopanel-agent: {line}");
}
