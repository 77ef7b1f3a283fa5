//! Generates the messages and service stubs from the `.proto` files, with no `protoc` on the machine.

use std::path::PathBuf;
use std::{env, fs, io};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

const INGEST: &str = "recount/v1/ingest.proto";
const FILES: [&str; 4] = ["recount/v1/events.proto", "recount/v1/counts.proto", INGEST, "recount/v1/admin.proto"];
/// The field whose bytes are taken as they are, without a copy.
const RAW_FIELD: &str = ".recount.v1.AppendRequest.events";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;

    // The server's reflection service answers from this file.
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    fs::write(out_dir.join("recount.bin"), descriptors.encode_to_vec())?;

    let services = env::var_os("CARGO_FEATURE_SERVICES").is_some();
    let raw = with_raw_events(&descriptors);
    tonic_prost_build::configure().build_client(services).build_server(services).compile_fds(descriptors)?;
    let raw_dir = out_dir.join("raw");
    fs::create_dir_all(&raw_dir)?;
    tonic_prost_build::configure()
        .build_client(services)
        .build_server(services)
        .bytes(RAW_FIELD)
        .out_dir(raw_dir)
        .compile_fds(raw)
}

/// The ingest service alone, its events as bytes. Messages and bytes have the same form on the wire.
fn with_raw_events(descriptors: &FileDescriptorSet) -> FileDescriptorSet {
    let mut file = descriptors.file.iter().find(|file| file.name() == INGEST).expect("it was just compiled").clone();
    file.dependency.clear();
    let fields = file.message_type.iter_mut().flat_map(|message| &mut message.field);
    for field in fields.filter(|field| field.type_name() == ".recount.v1.Event") {
        field.set_type(Type::Bytes);
        field.type_name = None;
    }
    FileDescriptorSet { file: vec![file] }
}
