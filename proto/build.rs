//! Compiles the protos without a system protoc, and keeps the descriptors for reflection.
#![allow(clippy::expect_used)] // a build that cannot write its output has nobody to answer to

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["carelink/audit/v1/audit.proto", "carelink/auth/v1/auth.proto", "carelink/ops/v1/ops.proto", "carelink/token/v1/token.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::codec::SmallCodec").compile_fds(descriptors)?;
    Ok(())
}
