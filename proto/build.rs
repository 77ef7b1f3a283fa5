//! Generates the messages and service stubs from the `.proto` files, with no `protoc` on the machine.

use std::path::PathBuf;
use std::{env, fs, io};

use prost::Message as _;

const FILES: [&str; 3] = ["recount/v1/events.proto", "recount/v1/counts.proto", "recount/v1/ingest.proto"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;

    // The server's reflection service answers from this file.
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    fs::write(out_dir.join("recount.bin"), descriptors.encode_to_vec())?;

    let services = env::var_os("CARGO_FEATURE_SERVICES").is_some();
    tonic_prost_build::configure().build_client(services).build_server(services).compile_fds(descriptors)
}
