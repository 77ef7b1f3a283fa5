//! The command line from outside: what it writes, what it says when input is bad, and its exit codes.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use support::{MINUTE_MS, NOON_MS, click, verdict};
use tempfile::TempDir;

/// A directory with files of events, and a `recount` that runs in it.
struct Desk {
    dir: TempDir,
}

/// What a command came to.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Desk {
        Desk { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn lines(&self, name: &str, lines: &[String]) {
        self.write(name, lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recount"));
        command.current_dir(self.dir.path()).args(args).stdin(Stdio::null()).env("RECOUNT__LOG__LEVEL", "error");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn json_lines(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Replays one file whose records are all broken, and returns what was quarantined.
    fn quarantined(&self, name: &str) -> Vec<Value> {
        let ran = self.run(&["replay", name, "--out", "out.jsonl", "--quarantine", "q.jsonl"]);
        assert_eq!(ran.code, 0, "broken records do not change the exit code: {}", ran.stderr);
        assert_eq!(self.read("out.jsonl"), "");
        self.json_lines("q.jsonl")
    }
}

/// A process that ends with its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Clicks of two ads over some minutes, a retry, a verdict after its window closed, a reversal, a late click.
fn story() -> Vec<String> {
    let mut lines = vec![click("c1", "ad-b", NOON_MS), click("c1", "ad-b", NOON_MS), click("c2", "ad-a", NOON_MS + 5)];
    lines.extend((1..8).map(|n| click(&format!("m{n}"), "ad-a", NOON_MS + n * MINUTE_MS)));
    lines.push(verdict("c1", "INVALID", NOON_MS + 1));
    lines.push(verdict("m1", "INVALID", NOON_MS + MINUTE_MS));
    lines.push(verdict("m1", "VALID", NOON_MS + 2 * MINUTE_MS));
    lines.push(click("late", "ad-a", NOON_MS + 7));
    lines.push("{oops".into());
    lines
}

#[test]
fn a_replay_writes_the_exact_table() {
    let desk = Desk::new();
    desk.lines("in.jsonl", &story());
    let ran = desk.run(&["replay", "in.jsonl", "--out", "-"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let first = ran.stdout.lines().next().unwrap();
    let expected = format!(
        r#"{{"ad_id":"ad-a","granularity":"MINUTE","window_start_ms":{NOON_MS},"metrics":{{"received":2,"duplicates":0,"gross_clicks":2,"invalid_clicks":0,"clicks":2,"unique_users":2,"spend_micros":2000000,"invalid_spend_micros":0}},"state":"CLOSED","revision":0}}"#
    );
    assert_eq!(first, expected);
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 9);
    assert_eq!(rows[8]["ad_id"], "ad-b", "rows are sorted by ad, then window");
    assert_eq!(rows[8]["metrics"]["invalid_clicks"], 1);
    assert_eq!(rows[8]["metrics"]["duplicates"], 1);
    assert!(ran.stderr.contains("15 records"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 quarantined (1 unreadable)"), "{}", ran.stderr);
}

#[test]
fn every_output_is_the_same_on_any_number_of_workers() {
    let desk = Desk::new();
    let generate =
        ["generate", "--clicks", "20000", "--seed", "7", "--ads", "300", "--broken", "0.01", "--out", "in.jsonl.gz"];
    assert_eq!(desk.run(&generate).code, 0);
    let outputs = ["out", "changes", "corrections", "status", "quarantine", "parked"];
    for workers in ["1", "2", "3"] {
        let mut args = vec!["replay".to_string(), "in.jsonl.gz".into(), "--epoch-records".into(), "700".into()];
        args.extend(["--workers".into(), workers.into(), "--correction-horizon".into(), "30m".into()]);
        for output in outputs {
            args.extend([format!("--{output}"), format!("{output}-{workers}")]);
        }
        let ran = desk.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    for output in outputs {
        let one = desk.read(&format!("{output}-1"));
        assert!(!one.is_empty(), "{output}");
        for workers in [2, 3] {
            assert!(one == desk.read(&format!("{output}-{workers}")), "{output} differs on {workers} workers");
        }
    }
    changes_sum_to_the_table(&desk);
    let status = &desk.json_lines("status-1")[0];
    assert_eq!(status["quarantined"], json!(desk.json_lines("quarantine-1").len()));
    assert_eq!(status["parked"], json!(desk.json_lines("parked-1").len()));
}

fn changes_sum_to_the_table(desk: &Desk) {
    let mut state = std::collections::BTreeMap::new();
    let key = |row: &Value| (row["ad_id"].as_str().unwrap().to_string(), row["window_start_ms"].as_i64().unwrap());
    for (place, epoch) in desk.json_lines("changes-1").iter().enumerate() {
        assert_eq!(epoch["epoch"], json!(place + 1), "no epoch is missed");
        for change in epoch["changes"].as_array().unwrap() {
            let before = change["before"].as_object().map(|row| row["metrics"].clone());
            let row = if change["after"].is_null() { &change["before"] } else { &change["after"] };
            let was = state.insert(key(row), row["metrics"].clone());
            assert_eq!(was, before);
        }
    }
    let table = desk.json_lines("out-1").iter().map(|row| (key(row), row["metrics"].clone())).collect();
    assert_eq!(state, table);
}

#[test]
fn corrections_have_a_cause_and_an_id() {
    let desk = Desk::new();
    let old = click("old", "ad-a", NOON_MS - 8 * 86_400_000);
    desk.lines("in.jsonl", &[story(), vec![old]].concat());
    let ran =
        desk.run(&["replay", "in.jsonl", "--epoch-records", "1", "--corrections", "c.jsonl", "--parked", "p.jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let corrections: Vec<_> =
        desk.json_lines("c.jsonl").iter().map(|line| (line["cause"].clone(), line["correction_id"].clone())).collect();
    let id = |start_ms: i64, revision: u32, ad: &str| json!(format!("replay/MINUTE/{start_ms}/{revision}/{ad}"));
    let expected = [
        (json!("VERDICT"), id(NOON_MS, 1, "ad-b")),
        (json!("VERDICT"), id(NOON_MS + MINUTE_MS, 1, "ad-a")),
        (json!("REVERSAL"), id(NOON_MS + MINUTE_MS, 2, "ad-a")),
        (json!("LATE"), id(NOON_MS, 1, "ad-a")),
    ];
    assert_eq!(corrections, expected);
    let parked = desk.json_lines("p.jsonl");
    assert_eq!((parked.len(), &parked[0]["reason"]), (1, &json!("late")));
    assert!(parked[0]["payload"].as_str().unwrap().contains("\"old\""));
}

#[test]
fn granularities_and_csv() {
    let desk = Desk::new();
    desk.lines("in.jsonl", &story());
    let ran = desk.run(&["replay", "in.jsonl", "--granularity", "day", "--format", "csv", "--out", "-"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0].split(',').count(), 13);
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("ad-a,DAY,1699920000000,9,0,9,0,9,9,"), "{}", lines[1]);
}

#[test]
fn empty_input_is_an_empty_table() {
    let desk = Desk::new();
    desk.write("empty.jsonl", "");
    desk.write("blank.jsonl", "\n\n  \n");
    for name in ["empty.jsonl", "blank.jsonl", "-"] {
        let ran = desk.run(&["replay", name, "--out", "-", "--status", "s.json"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("0 records"), "{}", ran.stderr);
        assert_eq!(desk.json_lines("s.json")[0]["records_in"], 0);
    }
}

#[test]
fn input_that_can_not_be_read_fails_with_its_name() {
    let desk = Desk::new();
    fs::create_dir(desk.path("folder")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(story().join("\n").as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    desk.write("cut.jsonl.gz", &gz[..gz.len() / 2]);
    for (name, expected) in
        [("none.jsonl", "no such file"), ("folder", "is a directory"), ("cut.jsonl.gz", "end early")]
    {
        let ran = desk.run(&["replay", name, "--out", "out.jsonl"]);
        assert_eq!(ran.code, 1, "{name}");
        assert!(ran.stderr.contains(name) && ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(!desk.path("out.jsonl").exists(), "half a table is worse than none");
        assert!(!desk.path("out.jsonl.partial").exists());
    }
}

#[test]
fn a_file_without_permission_is_named() {
    let desk = Desk::new();
    desk.lines("secret.jsonl", &story());
    fs::set_permissions(desk.path("secret.jsonl"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if File::open(desk.path("secret.jsonl")).is_ok() {
        // Root reads everything.
        return;
    }
    let ran = desk.run(&["replay", "secret.jsonl"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("secret.jsonl: permission denied"), "{}", ran.stderr);
}

#[test]
fn a_line_of_a_hundred_megabytes_is_one_quarantined_record() {
    let desk = Desk::new();
    desk.write("long.jsonl", vec![b'x'; 100 << 20]);
    let records = desk.quarantined("long.jsonl");
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["reason"], &records[0]["payload_length"]), (&json!("record_too_long"), &json!(100 << 20)));
    assert_eq!(records[0]["payload"].as_str().unwrap().len(), 64 << 10);
}

#[test]
fn nul_bytes_and_other_bytes_are_quarantined_with_their_place() {
    let desk = Desk::new();
    desk.write("bytes.jsonl", b"\0\0\0\0\n\xff\xfe\n");
    let records = desk.quarantined("bytes.jsonl");
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["reason"] == "unreadable"));
    assert_eq!(records[0]["payload"], "\0\0\0\0");
    assert_eq!(records[1]["payload_base64"], "//4=");
    for (place, record) in records.iter().enumerate() {
        assert_eq!(record["position"]["source"], "bytes.jsonl");
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("bytes.jsonl:{}: ", place + 1)), "{detail}");
    }
}

#[test]
fn long_ids_and_impossible_times_are_quarantined() {
    let desk = Desk::new();
    let lines = [
        click(&"c".repeat(129), "ad", NOON_MS),
        click("c", &"a".repeat(129), NOON_MS),
        click("c", "ad", -2_208_988_800_000),
        click("c", "ad", NOON_MS).replace(&NOON_MS.to_string(), "\"1900-01-01T00:00:00Z\""),
    ];
    desk.lines("odd.jsonl", &lines);
    let reasons: Vec<_> = desk.quarantined("odd.jsonl").iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["click_id_too_long", "ad_id_too_long", "timestamp_out_of_range", "timestamp_out_of_range"]);
}

#[test]
fn wrong_usage_says_what_to_do() {
    let desk = Desk::new();
    desk.lines("in.jsonl", &story());
    desk.write("bad.toml", "[engine]\nwrokers = 2\n");
    let cases: [(&[&str], &str); 12] = [
        (&["replay"], "FILE"),
        (&["replay", "in.jsonl", "--format", "parquet"], "not built yet"),
        (&["replay", "in.jsonl", "--granularity", "week"], "minute, five-minutes, hour or day"),
        (&["replay", "in.jsonl", "--workers", "0"], "from 1 to 256"),
        (&["replay", "in.jsonl", "--allowed-lateness", "30"], "as in 500ms, 30s"),
        (&["replay", "in.jsonl", "--out", "-", "--changes", "-"], "only one of the outputs"),
        (&["replay", "in.jsonl", "--out", "./in.jsonl"], "is read, so nothing can be written there"),
        (&["replay", "in.jsonl", "--out", "x", "--status", "./x"], "two outputs can not go to one file"),
        (&["serve"], "name --data-dir DIR"),
        (&["--config", "bad.toml", "replay", "in.jsonl"], "did you mean engine.workers"),
        (&["serve", "--events", "in.jsonl", "--data-dir", "d"], "cannot be used with"),
        (&["generate", "--clicks", "1", "--seed", "1", "--out", "x.txt"], ".jsonl or .pb"),
    ];
    for (args, expected) in cases {
        let ran = desk.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    // What a service would refuse is refused by a look at its settings as well.
    let settings = [
        ("ENGINE__WORKER", "1", "RECOUNT__ENGINE__WORKERS"),
        ("LOG__LEVEL", "recount=loud", "is no filter"),
        ("RULES__COUNTS_RETENTION", "1h", "shorter than rules.correction_horizon"),
        ("STORE__SEGMENT_BYTES", "0", "0 holds nothing"),
    ];
    for (name, value, expected) in settings {
        let name = format!("RECOUNT__{name}");
        let ran = ran(desk.command(&["config", "check"]).env(name, value).output().unwrap());
        assert_eq!(ran.code, 2, "{value}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{value}: {}", ran.stderr);
    }
    assert_eq!(desk.run(&["config", "check"]).code, 0);
}

#[test]
fn a_file_is_no_data_directory() {
    let desk = Desk::new();
    desk.write("store", "");
    let ran = desk.run(&["serve", "--data-dir", "store"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("store: the directory can not be made: not a directory"), "{}", ran.stderr);
}

#[test]
fn settings_are_shown_with_their_origin() {
    let desk = Desk::new();
    desk.write("recount.toml", "[engine]\nworkers = 3\n");
    let mut command = desk.command(&["--config", "recount.toml", "config", "show", "--origin"]);
    let ran = ran(command.env("RECOUNT__ENGINE__HISTORY", "5m").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = |start: &str| ran.stdout.lines().find(|line| line.starts_with(start)).unwrap().to_string();
    assert!(line("workers = 3").ends_with("# recount.toml"));
    assert!(line("history = \"5m\"").ends_with("# RECOUNT__ENGINE__HISTORY"));
    assert!(line("epoch_records = 50000").ends_with("# default"));
}

#[test]
fn completions_and_the_manual_are_written_even_to_who_stops_listening() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.run(&["completions", shell]).stdout.contains("recount"));
    }
    assert!(desk.run(&["man"]).stdout.contains("recount\\-replay"));
    desk.lines(
        "in.jsonl",
        &(0..20_000).map(|n| click(&format!("c{n}"), &format!("ad{n}"), NOON_MS)).collect::<Vec<_>>(),
    );
    let mut child = desk
        .command(&["replay", "in.jsonl", "--out", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0);
    assert!(!ran.stderr.contains("panic") && !ran.stderr.contains("Broken"), "{}", ran.stderr);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let desk = Desk::new();
    for name in ["a.jsonl", "b.jsonl", "c.jsonl"] {
        let seed = if name == "c.jsonl" { "2" } else { "1" };
        assert_eq!(desk.run(&["generate", "--clicks", "1000", "--seed", seed, "--out", name]).code, 0);
    }
    assert_eq!(desk.read("a.jsonl"), desk.read("b.jsonl"));
    assert_ne!(desk.read("a.jsonl"), desk.read("c.jsonl"));
}

#[test]
fn the_demo_tells_its_story_without_a_terminal() {
    let ran = Desk::new().run(&["demo", "--clicks", "20000"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in ["records/s", "unique users", "verdict"] {
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn a_service_is_asked_by_query_and_ends_at_a_signal() {
    let desk = Desk::new();
    desk.lines("in.jsonl", &[story(), vec![verdict("never", "VALID", NOON_MS)]].concat());
    let free = "127.0.0.1:0";
    let args = ["serve", "--events", "in.jsonl", "--grpc", free, "--http", free, "--history", "600", "--workers", "2"];
    let mut child = Running(desk.command(&args).stdout(Stdio::piped()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(child.0.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["data_dir"], Value::Null);
    let http: SocketAddr = first["http"].as_str().unwrap().parse().unwrap();
    let mut probe = TcpStream::connect(http).unwrap();
    probe.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK") && answer.ends_with("ready\n"), "{answer}");
    let addr = first["grpc"].as_str().unwrap();
    let query = |args: &[&str]| desk.run(&[&["query"], args, &["--addr", addr]].concat());

    let status = loop {
        let status: Value = serde_json::from_str(&query(&["status", "--json"]).stdout).unwrap();
        if status["records_in"] == 16 {
            break status;
        }
    };
    assert_eq!(status["quarantined_by_reason"], json!({"unreadable": 1}));
    let (start, end) = ("2023-11-14T00:00:00Z", "2023-11-15T00:00:00Z");
    let counts = query(&["counts", "ad-a", "ad-b", "--start", start, "--end", end, "--granularity", "day", "--json"]);
    let counts: Value = serde_json::from_str(&counts.stdout).unwrap();
    assert_eq!(counts["rows"][0]["metrics"]["clicks"], 9);
    let top = query(&["top", "--start", start, "--end", end]);
    assert!(top.stdout.contains("ad-a") && top.stdout.contains("as of epoch"), "{}", top.stdout);
    let explain = query(&["explain", "ad-b", "--window-start", start, "--granularity", "day"]);
    assert!(explain.stdout.contains("INVALID givt:datacenter"), "{}", explain.stdout);
    assert_eq!(query(&["corrections", "--json"]).code, 0);
    let quarantined: Value = serde_json::from_str(&query(&["quarantined", "--json"]).stdout).unwrap();
    assert_eq!(quarantined["reason"], "unreadable");
    assert_eq!(query(&["parked", "--json"]).stdout, "");
    let unmatched: Value = serde_json::from_str(&query(&["parked", "--reason", "unmatched", "--json"]).stdout).unwrap();
    assert_eq!(unmatched["detail"], "the verdict has met no click");
    let table = query(&["parked", "--reason", "unmatched"]);
    assert!(table.code == 0 && table.stdout.contains("never"), "{}", table.stdout);
    let refused = query(&["counts", "ad-a", "--start", "5", "--end", "1"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("RANGE_INVALID"), "{}", refused.stderr);
    let port = addr.rsplit(':').next().unwrap();
    assert_eq!(desk.run(&["query", "status", "--addr", &format!("localhost:{port}")]).code, 0);
    let no_token = query(&["counts", "ad-a", "--start", start, "--end", end, "--at-least", "?"]);
    assert!(no_token.code == 2 && no_token.stderr.contains("no token"), "{}", no_token.stderr);
    let old = query(&["counts", "ad-a", "--start", start, "--end", end, "--as-of", "999999"]);
    assert_eq!(old.code, 1);
    assert!(old.stderr.contains("AS_OF_TOO_NEW"), "{}", old.stderr);

    let killed = Command::new("kill").arg(child.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0), "a signal ends the service in order");
    let gone = query(&["status"]);
    assert_eq!(gone.code, 4);
    assert!(gone.stderr.contains("recount serve"), "{}", gone.stderr);
}
