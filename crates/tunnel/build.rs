//! Generates the frames' types; protox parses, so no protoc is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files([
            "turbopanel/tunnel/v1/options.proto",
            "turbopanel/tunnel/v1/tunnel.proto",
        ])?;
    tonic_prost_build::configure()
        .bytes(".turbopanel.tunnel.v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
