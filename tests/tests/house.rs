//! The architecture, held by a test: who may know whom, where the risky things live, and how large a room may be.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 500;

/// Rooms, and the rooms that each may use beside itself.
type Rooms = &'static [(&'static str, &'static [&'static str])];

/// The rooms of `dataflow`.
const DATAFLOW_ROOMS: Rooms = &[
    ("domain", &[]),
    ("prefetch", &[]),
    ("intake", &["domain", "prefetch"]),
    ("store", &["domain"]),
    ("trace", &["domain", "prefetch", "store"]),
    ("operators", &["domain", "trace"]),
    ("graph", &["domain", "trace", "operators"]),
    ("worker", &["domain", "trace", "operators", "graph"]),
    ("published", &["domain", "intake", "store", "trace", "operators", "worker"]),
    ("read", &["domain", "trace", "operators", "published"]),
    ("engine", &["domain", "intake", "store", "trace", "operators", "worker", "published", "read"]),
    ("checkpoint", &["domain", "store", "trace", "operators", "published", "read"]),
    ("lib", &["domain", "intake", "store", "engine", "read", "checkpoint"]),
];

/// The rooms of `connectors`. A format calls its decoder, which says what it has found in the format's words; and the errors of sources
/// and the places of raw records are enums over all kinds of them.
const CONNECTORS_ROOMS: Rooms = &[
    ("checksum", &[]),
    ("field", &[]),
    ("disk", &[]),
    ("format", &["json", "protobuf"]),
    ("json", &["field", "format"]),
    ("protobuf", &["field", "format"]),
    ("error", &["kafka", "log"]),
    ("raw_store", &["format", "log"]),
    ("source", &["error", "raw_store"]),
    ("file", &["error", "format", "json", "protobuf", "raw_store", "source"]),
    ("workload", &["file", "format"]),
    ("data_dir", &["checksum", "disk"]),
    ("log", &["checksum", "data_dir", "disk", "error", "format", "raw_store", "source"]),
    ("bindings", &["checksum", "data_dir", "disk"]),
    ("streams", &["checksum", "data_dir", "disk"]),
    ("store", &["data_dir", "disk"]),
    ("kafka", &["error", "file", "format", "json", "protobuf", "raw_store", "source", "streams"]),
    ("lib", &[]),
];

/// The rooms of `server`: a room uses those above it.
const SERVER_ROOMS: Rooms = &[
    ("allocator", &[]),
    ("clock", &[]),
    ("evidence", &[]),
    ("limits", &[]),
    ("lineage", &[]),
    ("watcher", &[]),
    ("convert", &[]),
    ("config", &["convert", "limits"]),
    ("output", &["convert"]),
    ("api", &["clock", "convert", "evidence", "limits", "lineage"]),
    ("feed", &["clock"]),
    ("store", &["clock", "feed", "lineage"]),
    ("metrics", &["api", "clock", "store"]),
    ("sinks", &["config", "convert", "lineage", "metrics", "output"]),
    ("grpc", &["api", "convert", "limits", "store"]),
    ("http", &["api", "convert", "limits", "metrics"]),
    (
        "server",
        &["api", "evidence", "feed", "grpc", "http", "limits", "lineage", "metrics", "sinks", "store", "watcher"],
    ),
    ("cli", &["allocator", "config", "convert", "lineage", "output", "server", "store"]),
    ("lib", &[]),
    ("main", &[]),
];

/// Source files that may hold `unsafe`, each with its argument beside it.
const UNSAFE_FILES: &[&str] = &[
    "dataflow/src/prefetch.rs",
    "connectors/src/disk/map.rs",
    "connectors/src/kafka/source/native.rs",
    "server/src/allocator.rs",
];

#[test]
fn the_engine_depends_on_no_other_crate_of_ours() {
    let ours: Vec<String> = dependencies("dataflow").into_iter().filter(|name| name.starts_with("recount")).collect();
    assert!(ours.is_empty(), "dataflow depends on {ours:?}");
}

#[test]
fn only_the_engine_names_timely_and_only_tests_differential() {
    for crate_name in ["proto", "connectors", "server"] {
        let named = dependencies(crate_name);
        for forbidden in ["timely", "differential-dataflow", "columnar"] {
            assert!(!named.iter().any(|name| name == forbidden), "{crate_name} depends on {forbidden}");
        }
        for (path, code) in sources(crate_name) {
            for forbidden in ["timely::", "differential_dataflow"] {
                assert!(!code.contains(forbidden), "{} names {forbidden}", path.display());
            }
        }
    }
    assert!(!dependencies("dataflow").iter().any(|name| name == "differential-dataflow"), "it is the second opinion");
}

/// Crash points are calls of the disk, so what must survive a crash is written through it alone.
#[test]
fn durable_files_go_through_the_disk() {
    // It reads what an operator has written for it, and writes nothing.
    let reads_secrets = root().join("connectors/src/store/bucket/settings.rs");
    for room in ["data_dir", "log", "bindings", "store", "streams"] {
        let sources = sources(&format!("connectors/src/{room}")).into_iter();
        for (path, code) in sources.filter(|(path, _)| !is_test(path) && *path != reads_secrets) {
            for forbidden in ["std::fs", "memmap2", "tempfile"] {
                assert!(!code.contains(forbidden), "{} names {forbidden}", path.display());
            }
        }
    }
}

#[test]
fn only_the_server_and_one_room_know_tokio_and_tonic() {
    for crate_name in ["dataflow", "connectors"] {
        for name in dependencies(crate_name) {
            let is_async = name.starts_with("tokio") || name.starts_with("tonic");
            // The client of object stores runs on nothing else.
            let is_bucket = crate_name == "connectors" && name == "tokio";
            assert!(!is_async || is_bucket, "{crate_name} depends on {name}");
        }
    }
    let manifest = fs::read_to_string(root().join("connectors/Cargo.toml")).unwrap();
    assert!(
        manifest.contains("tokio = { workspace = true, optional = true"),
        "tokio comes with the feature that needs it"
    );
    for (path, code) in sources("connectors/src") {
        let is_room = path.starts_with(root().join("connectors/src/store/bucket"));
        for forbidden in ["tokio::", "object_store::"] {
            assert!(is_room || !code.contains(forbidden), "{} names {forbidden}", path.display());
        }
    }
    let manifest = fs::read_to_string(root().join("proto/Cargo.toml")).unwrap();
    for line in manifest.lines().filter(|line| line.starts_with("tonic") && !line.starts_with("tonic-prost-build")) {
        assert!(line.contains("optional = true"), "proto holds messages always, stubs behind a feature: {line}");
    }
    assert!(!manifest.contains("default = "), "proto has no default features");
}

#[test]
fn only_one_room_speaks_to_kafka() {
    for crate_name in ["proto", "dataflow", "connectors/src", "server/src"] {
        for (path, code) in sources(crate_name) {
            let is_room = path.starts_with(root().join("connectors/src/kafka"));
            assert!(is_room || !code.contains("rdkafka::"), "{} names rdkafka", path.display());
        }
    }
}

#[test]
fn no_library_uses_anyhow() {
    for crate_name in ["proto", "dataflow", "connectors", "server"] {
        assert!(!dependencies(crate_name).iter().any(|name| name == "anyhow"), "{crate_name} depends on anyhow");
    }
}

#[test]
fn rooms_know_only_those_that_they_may() {
    let mut breaches = Vec::new();
    for (crate_name, rooms) in
        [("dataflow", DATAFLOW_ROOMS), ("connectors", CONNECTORS_ROOMS), ("server", SERVER_ROOMS)]
    {
        let src = root().join(crate_name).join("src");
        for (path, code) in sources(&format!("{crate_name}/src")).into_iter().filter(|(path, _)| !is_test(path)) {
            let room = path.strip_prefix(&src).unwrap().components().next().unwrap();
            let room = Path::new(room.as_os_str()).file_stem().unwrap().to_str().unwrap();
            let (_, allowed) = rooms
                .iter()
                .find(|(name, _)| *name == room)
                .unwrap_or_else(|| panic!("{} is in no room that this test knows", path.display()));
            for used in uses_of_crate(&code) {
                if used != room && !allowed.contains(&used.as_str()) {
                    breaches.push(format!("{} uses crate::{used}, which {room} does not know", path.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_rules_are_pure() {
    for (path, code) in sources("dataflow/src/domain") {
        for forbidden in
            ["timely", "differential_dataflow", "std::time", "std::fs", "std::net", "std::thread", "rand::", "HashMap"]
        {
            assert!(!code.contains(forbidden), "{} names {forbidden}", path.display());
        }
    }
}

#[test]
fn generated_messages_stop_at_one_module() {
    for crate_name in ["connectors", "server"] {
        let src = format!("{crate_name}/src");
        let naming: Vec<PathBuf> = sources(&src)
            .into_iter()
            .filter(|(_, code)| code.contains("recount_proto"))
            .map(|(path, _)| path.strip_prefix(root().join(&src)).unwrap().to_path_buf())
            .collect();
        let folders: Vec<&Path> = naming.iter().map(|path| path.parent().unwrap()).collect();
        let one_folder =
            folders.windows(2).all(|pair| pair[0] == pair[1]) && folders.iter().all(|one| *one != Path::new(""));
        assert!(naming.len() <= 1 || one_folder, "{crate_name} names generated messages in {naming:?}");
    }
    assert!(!dependencies("dataflow").iter().any(|name| name.starts_with("prost")), "dataflow depends on prost");
}

#[test]
fn unsafe_lives_in_named_files() {
    for crate_name in ["proto", "dataflow", "connectors", "server", "tests"] {
        for (path, code) in sources(crate_name) {
            let holds = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let named = UNSAFE_FILES.contains(&relative.as_str());
            // This file has the word in a string.
            assert!(!holds || named || relative == "tests/tests/house.rs", "{relative} holds unsafe");
        }
    }
}

#[test]
fn rooms_are_small_and_nothing_is_left_for_later() {
    let mut breaches = Vec::new();
    for crate_name in ["proto", "dataflow", "connectors", "server", "tests", "benches"] {
        for path in files(&root().join(crate_name)) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            if lines > FILE_LINES_MAX {
                breaches.push(format!("{} has {lines} lines", path.display()));
            }
            for later in
                [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")]
            {
                if text.contains(later) {
                    breaches.push(format!("{} holds {later}", path.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// A room's tests may look for their material elsewhere.
fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.parent().is_some_and(|room| room.ends_with("tests"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The names under `[dependencies]` of a crate.
fn dependencies(crate_name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(crate_name).join("Cargo.toml")).unwrap();
    let mut in_section = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_section = line == "[dependencies]";
        } else if in_section && !line.starts_with('#') {
            names.extend(line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    names
}

/// The sources under a crate or a folder, comments left out.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut sources = Vec::new();
    for path in files(&root().join(folder)) {
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        sources.push((path, code.join("\n")));
    }
    sources
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The rooms named after `crate::`, also those in braces.
fn uses_of_crate(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for after in code.split("crate::").skip(1) {
        let word =
            |text: &str| text.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
        match after.strip_prefix('{') {
            Some(list) => used.extend(top_level(list).iter().map(|item| word(item))),
            None => used.push(word(after)),
        }
    }
    used
}

/// The items of a list in braces, whatever is nested in them.
fn top_level(list: &str) -> Vec<String> {
    let (mut items, mut depth) = (vec![String::new()], 0);
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ if depth == 0 => items.last_mut().unwrap().push(character),
            _ => {}
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}
