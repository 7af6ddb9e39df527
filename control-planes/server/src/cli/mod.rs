//! The operator's command line: parses, runs one command, and turns its outcome into an exit code.
//!
//! ```text
//!  args ──▶ connection (which control plane, as whom) ──▶ a command ──▶ output / table
//!                                                             └──▶ failure (sentence, mend, exit code)
//! ```
//!
//! Every command speaks to the control plane over frames, so its calls survive cuts.

mod agents;
mod args;
mod colour;
mod connection;
mod copy;
mod directory;
mod events;
mod exec;
mod failure;
mod figures;
mod host_json;
mod image_args;
mod images;
mod interrupt;
mod lifecycle;
mod lines;
mod logs;
mod moment;
mod networks;
mod operations;
mod output;
mod progress;
mod ps;
mod refresh;
mod screen;
mod search;
mod selectors;
mod serve;
mod stack;
mod stats;
mod status;
mod stdin;
mod table;
mod text;
mod token;
mod top;
mod unpack;
mod volumes;

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};

use args::{AgentsAction, Args, Command, TokenAction};
use connection::Connection;
use failure::Failure;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    // The first provider stays: a second one would be refused, which harms nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "turbopanel", &mut script);
            output::print(&script)?;
            Ok(0)
        }
        Command::Serve(serve) => {
            // A relay's threads wake each other for every packet: half as many as there are cores carry more.
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads((cores / 2).clamp(1, 8))
                .enable_all()
                .build();
            let runtime = runtime.map_err(Failure::Start)?;
            let directory = directory::choose(args.whom.data_dir);
            let done = runtime.block_on(serve::run(serve, directory));
            // Whatever still blocks after a second signal does not hold the process.
            runtime.shutdown_background();
            done
        }
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(Failure::Start)?;
            let whom = args.whom;
            let json = whom.json;
            let done = runtime.block_on(async move {
                let connection = Connection::open(whom).await?;
                let done = ask(&connection, command, json).await;
                match done {
                    Err(failure) => Err(connection.explain(failure).await),
                    done => done,
                }
            });
            runtime.shutdown_background();
            done
        }
    }
}

async fn ask(connection: &Connection, command: Command, json: bool) -> Result<u8, Failure> {
    match command {
        Command::Agents { action: None } => agents::list(connection, json).await,
        Command::Agents {
            action: Some(AgentsAction::Remove { name }),
        } => agents::remove(connection, name, json).await,
        Command::Status { agent } => status::show(connection, &agent, json).await,
        Command::Ps { agent, all } => ps::list(connection, agent, all, json).await,
        Command::Stats { place, once } => stats::show(connection, place, once, json).await,
        Command::Top(args) => top::show(connection, args, json).await,
        Command::Logs(args) => logs::stream(connection, args, json).await,
        Command::Search(args) => search::run(connection, args, json).await,
        Command::Exec(args) => exec::run(connection, args, json).await,
        Command::Start(args) => lifecycle::start(connection, args.container, json).await,
        Command::Stop(args) => lifecycle::stop(connection, args, json).await,
        Command::Restart(args) => lifecycle::restart(connection, args, json).await,
        Command::Rm(args) => lifecycle::remove(connection, args, json).await,
        Command::Cp(args) => copy::run(connection, args, json).await,
        Command::Networks(args) => networks::list(connection, &args.agent, json).await,
        Command::Volumes(args) => volumes::list(connection, args, json).await,
        Command::Events(args) => events::stream(connection, args, json).await,
        Command::Images(args) => images::list(connection, args, json).await,
        Command::Pull(args) => images::pull(connection, args, json).await,
        Command::Recreate(args) => images::recreate(connection, args, json).await,
        Command::Stack { action } => stack::run(connection, action, json).await,
        Command::Operations { action } => operations::run(connection, action, json).await,
        Command::Token { action } => match action {
            TokenAction::Create { name, admin } => {
                token::create(connection, name, admin, json).await
            }
            TokenAction::List { all } => token::list(connection, all, json).await,
            TokenAction::Revoke { id } => token::revoke(connection, id, json).await,
        },
        // Both ran before there was a connection.
        Command::Serve(_) | Command::Completions { .. } => Ok(0),
    }
}

/// Writes one sentence for people to standard error; a standard error that is closed harms nothing.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
