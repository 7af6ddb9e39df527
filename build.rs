//! Generates the contract's types from `proto/`; protox parses, so no protoc is needed.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by its environment"
)]

use std::{env, error::Error, fs, path::PathBuf};

/// The contract: every file in here.
const CONTRACT: &str = "turbopanel/agent/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    for file in fs::read_dir(PathBuf::from("proto").join(CONTRACT))? {
        files.push(format!("{CONTRACT}/{}", file?.file_name().display()));
    }
    files.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by protox, because prost's own types would drop the method options.
    fs::write(
        out.join("agent.bin"),
        protox::Compiler::new(["proto"])?
            .include_imports(true)
            .open_files(&files)?
            .encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .bytes(".turbopanel.agent.v1")
        // Written by hand, without what is secret.
        .skip_debug([
            ".turbopanel.agent.v1.UserPassword",
            ".turbopanel.agent.v1.RegistryCredentials",
        ])
        .extern_path(".turbopanel.tunnel.v1", "::turbopanel_tunnel::proto")
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
