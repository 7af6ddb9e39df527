//! `turbopanel serve`: runs the control plane until a signal comes.

use std::{io, path::PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use turbopanel_control_plane::serve::{Plane, ServeConfig};

use super::{args::Serve, colour, failure::Failure, interrupt::Interrupts, output, text};

/// As many open files as connections are accepted, and some.
const ENOUGH_FILES: u64 = 20_000;

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
pub(crate) async fn run(args: Serve, data_dir: PathBuf) -> Result<u8, Failure> {
    log_to_stderr(&args.log_level);
    raise_open_files();
    let mut interrupts = Interrupts::listen()?;
    let config = ServeConfig {
        listen: args.listen,
        integrated_agent: !args.no_integrated_agent,
        public_url: args.public_url.filter(|url| !url.is_empty()),
        redial_spread: args.redial_spread,
        docker_host: args.docker_host.filter(|host| !host.is_empty()),
        ..ServeConfig::new(data_dir)
    };
    let integrated = config.integrated_agent;
    let plane = Plane::bind(config).await.map_err(Failure::Serve)?;
    // A reader that left harms nothing: the control plane serves all the same.
    let _ = output::print(greeting(&plane, integrated).as_bytes());
    let shutdown = CancellationToken::new();
    let mut serving = Box::pin(plane.serve(shutdown.clone()));
    tokio::select! {
        biased;
        signal = interrupts.next() => tracing::info!(signal, "stopping; a second signal ends at once"),
        done = &mut serving => return done.map(|()| 0).map_err(Failure::Serve),
    }
    shutdown.cancel();
    tokio::select! {
        biased;
        signal = interrupts.next() => Err(Failure::Signal(signal)),
        done = &mut serving => done.map(|()| 0).map_err(Failure::Serve),
    }
}

/// What to try next.
fn greeting(plane: &Plane, integrated: bool) -> String {
    let address = plane.address();
    let token = plane.admin_token_file();
    let directory = token
        .parent()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let directory = text::quoted(&directory);
    // An address that stands for all is reached on loopback from this machine.
    let reached = match address.ip() {
        ip if !ip.is_unspecified() => address,
        ip if ip.is_ipv4() => ([127, 0, 0, 1], address.port()).into(),
        _ => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    };
    let mut commands = vec!["turbopanel agents"];
    if integrated {
        commands.extend(["turbopanel ps local", "turbopanel exec local -- uname -a"]);
    }
    // A token for another server is of use once that server reaches this one.
    if !address.ip().is_loopback() {
        commands.push("turbopanel token create web-2");
    }
    format!(
        "TurboPanel {} listens on http://{address}\nThe administrator's token is in {}\n\nTry next, in another terminal:\n  export TURBOPANEL_URL=http://{reached} TURBOPANEL_DATA_DIR={directory}\n  {}\n\n",
        env!("CARGO_PKG_VERSION"),
        token.display(),
        commands.join("\n  "),
    )
}

/// Every connection is a file, and the usual limit of 1024 is for programs that have a few: takes as many as
/// the system allows.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(limit = limit.current, %error, "the limit on open files could not be raised");
    }
    match limit.maximum {
        Some(maximum) if maximum < ENOUGH_FILES => tracing::warn!(
            limit = maximum,
            "the limit on open files bounds how many agents and callers can connect; raise it with `ulimit -Hn` or LimitNOFILE="
        ),
        Some(_) | None => {}
    }
}

/// Our own crates log at the level that was asked for; what they depend on only warns.
fn log_to_stderr(level: &str) {
    use tracing::level_filters::LevelFilter;

    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let targets = Targets::new()
        .with_target("turbopanel", level)
        .with_default(LevelFilter::WARN.min(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colour::on_stderr())
        .with_writer(io::stderr)
        .with_filter(targets);
    // A subscriber that is there already stays.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}
