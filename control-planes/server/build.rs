//! Generates the contracts' types from `proto/`; protox parses, so no protoc is needed.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by its environment"
)]

use std::{env, error::Error, fs, path::PathBuf};

const ROOT: &str = "../../proto";
/// The contracts: every file in here.
const CONTRACTS: &[&str] = &["turbopanel/agent/v1", "turbopanel/control/v1"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let mut files = Vec::new();
    for folder in CONTRACTS {
        for file in fs::read_dir(PathBuf::from(ROOT).join(folder))? {
            files.push(format!("{folder}/{}", file?.file_name().display()));
        }
    }
    files.sort();
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by protox, because prost's own types would drop the method options.
    fs::write(
        out.join("contract.bin"),
        protox::Compiler::new([ROOT])?
            .include_imports(true)
            .open_files(&files)?
            .encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .bytes(".turbopanel.agent.v1")
        .extern_path(".turbopanel.tunnel.v1", "::turbopanel_tunnel::proto")
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
