//! Integration tests.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod agent_binary;
mod agent_commands;
mod agent_doors;
mod agent_refused;
mod agent_settings;
mod agent_status;
mod agent_stop;
mod agent_support;
mod agent_tunnel;
mod command_container;
mod command_hung_engine;
mod command_pace;
mod command_start;
mod command_support;
mod container_attach;
mod container_calls;
mod container_copy;
mod container_create;
mod container_devices;
mod container_refused;
mod container_wait;
mod container_wire;
mod contract;
mod docker_away;
mod docker_containers;
mod docker_create;
mod docker_exec;
mod docker_log_hostile;
mod docker_log_pace;
mod docker_log_runs;
mod docker_logfile_damaged;
mod docker_logfile_follow;
mod docker_logfile_same;
mod docker_logfile_support;
mod docker_logfile_turns;
mod docker_logs;
mod docker_names;
mod docker_relay;
mod docker_support;
mod docker_unanswered;
mod docker_versions;
mod engine_events;
mod engine_info;
mod image_build;
mod image_cut;
mod image_forward;
mod image_full_disk;
mod image_host;
mod image_hostile;
mod image_memory;
mod image_registry;
mod image_support;
mod layers;
mod logs_hostile;
mod logs_limits;
mod logs_many;
mod logs_search;
mod logs_support;
mod metrics_containers;
mod metrics_host;
mod metrics_hung_mount;
mod metrics_scrape;
mod metrics_streams;
mod metrics_support;
mod metrics_version2;
mod network_life;
mod network_wire;
mod operations;
mod podman;
mod podman_engine;
mod podman_stacks;
mod private_engine;
mod recreate;
mod recreate_support;
mod stack_by_hand;
mod stack_ends;
mod stack_files;
mod stack_list;
mod stack_pull;
mod stack_support;
mod stack_up;
mod tunnel_support;
mod volume_life;
