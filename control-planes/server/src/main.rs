//! `turbopanel`: the self-hosted control plane and the operator's command line.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
