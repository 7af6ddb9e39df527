//! Integration tests: a real control plane on a real socket, real agents' sessions, real files.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

mod agent_process;
mod binary;
mod cli_commands;
mod cli_containers;
mod cli_exec;
mod cli_images;
mod cli_logs;
mod cli_search;
mod cli_server;
mod cli_stack;
mod cli_stack_logs;
mod cli_stats;
mod doors;
mod e2e_cuts;
mod e2e_engine;
mod e2e_every_line;
mod e2e_joining;
mod e2e_kills;
mod echo;
mod ends;
mod engine_relay;
mod every_line;
mod fleet;
mod forward;
mod frames;
mod integrated;
mod numbers;
mod plane;
#[path = "../../../../tests/it/private_engine.rs"]
mod private_engine;
mod proxy;
mod real_agent;
mod stops;
mod store;
mod tokens;
