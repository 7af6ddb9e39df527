//! `turbopanel-agent`: parses, sets up logging, runs, and returns an exit code.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, error::ErrorKind};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};
use turbopanel_agent::{
    VERSION,
    config::{self, Cli, Command, Config, LogLevel, Problems},
    router::local,
    supervisor::{self, RunError},
};

/// sysexits.h: a service is not available.
const UNAVAILABLE: u8 = 69;
/// sysexits.h: something is wrong with the configuration.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            let _ = error.print();
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
    block_on(async {
        match supervisor::run(config, asked_to_stop()).await {
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

/// Returns at the first SIGTERM or SIGINT; the second ends the process at once.
async fn asked_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    #[expect(clippy::disallowed_methods, reason = "ends only when the process does")]
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "asked for twice: at once, whatever runs"
        )]
        std::process::exit(1);
    });
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
