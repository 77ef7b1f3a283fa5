//! `recount quarantine` and `recount kafka` from outside: over a running service, and over topics of a real broker.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A service, killed where it is dropped, and where it listens.
struct Service {
    child: Child,
    grpc: String,
    http: String,
}

impl Service {
    fn start(args: &[&str], future_skew: &str) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recount"));
        command.args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "1"]).args(args);
        command.env("RECOUNT__RULES__MAX_FUTURE_SKEW", future_skew).env("RECOUNT__LOG__LEVEL", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        let addr = |name: &str| first[name].as_str().unwrap().to_owned();
        Service { child, grpc: addr("grpc"), http: addr("http") }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command: its exit code, and what it wrote to standard output and standard error.
fn recount(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_recount")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of four records one is good, one lacks its id, one is rubbish, and one is ahead of its time by the rules of this service.
fn records(path: &Path) {
    let click = |id: &str, more: &str| {
        format!(r#"{{"click":{{"click_id":"{id}","ad_id":"a","timestamp":1700000000000{more}}}}}"#)
    };
    let ahead = click("ahead", r#","received_at":1699999400000"#);
    fs::write(path, [click("c", ""), click("", ""), "rubbish".to_owned(), ahead].join("\n")).unwrap();
}

#[test]
fn what_a_service_quarantined_is_listed_and_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    records(&file);
    let service = Service::start(&["--events", file.to_str().unwrap()], "5m");
    // The file is read while the service runs.
    let listed = loop {
        let (code, out, err) = recount(&["quarantine", "list", "--addr", &service.grpc, "--json"]);
        assert_eq!(code, 0, "{err}");
        let listed = json_lines(&out);
        if listed.len() == 3 {
            break listed;
        }
    };
    let reasons: Vec<&str> = listed.iter().map(|record| record["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["click_id_missing", "unreadable", "timestamp_in_future"]);
    let (_, one, _) = recount(&["quarantine", "list", "--addr", &service.grpc, "--reason", "unreadable", "--json"]);
    assert_eq!(json_lines(&one), &listed[1..2]);
    let (_, table, err) = recount(&["quarantine", "list", "--addr", &service.grpc, "--limit", "1"]);
    assert!(table.contains("click_id_missing") && !table.contains("unreadable"), "{table}");
    assert!(err.contains("there are more"), "{err}");

    let store = dir.path().join("store");
    let other = Service::start(&["--data-dir", store.to_str().unwrap()], "1h");
    let replay = ["quarantine", "replay", "--addr", &service.grpc, "--http", &other.http, "--json"];
    let (code, out, err) = recount(&replay);
    assert_eq!(code, 0, "{err}");
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&outcome["accepted"], &outcome["refused"], &outcome["skipped"]), (&1.into(), &2.into(), &0.into()));
    assert_eq!(outcome["refused_by_reason"]["click_id_missing"], 1, "{outcome}");
    assert_eq!(outcome["refused_by_reason"]["unreadable"], 1, "{outcome}");
}

#[cfg(feature = "kafka")]
mod kafka {
    use recount_tests::kafka::{Broker, Record, Topics};

    use super::*;

    fn dead(value: &[u8], topic: &str, reason: &str) -> Record {
        Record::of(value)
            .keyed("k")
            .with("content-type", "application/json")
            .with("__connect.errors.topic", topic)
            .with("__connect.errors.partition", "1")
            .with("__connect.errors.offset", "7")
            .with("__connect.errors.exception.class.name", reason)
            .with("__connect.errors.exception.message", "expected something else")
    }

    #[test]
    fn files_are_produced_topics_are_checked_and_dead_letters_sent_again() {
        let broker = Broker::start();
        let servers = broker.servers();
        let topics = Topics::of(&servers);
        for topic in ["clicks", "dlq.clicks", "again"] {
            topics.create(topic, 2, &[("retention.ms", "-1")]);
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.pb.zst");
        let file = file.to_str().unwrap();
        assert_eq!(recount(&["generate", "--clicks", "20000", "--seed", "3", "--out", file]).0, 0);

        let produce =
            ["kafka", "produce", file, "--topic", "clicks", "--format", "event", "--compression", "lz4", "--json"];
        let (code, out, err) = recount(&[&produce[..], &["--bootstrap", &servers]].concat());
        assert_eq!(code, 0, "{err}");
        let produced: Value = serde_json::from_str(&out).unwrap();
        eprintln!("{produced}");
        assert_eq!(produced["delivered"].as_u64().unwrap(), topics.consume("clicks").len() as u64);
        let (code, _, err) = recount(&["kafka", "produce", file, "--topic", "nowhere", "--bootstrap", &servers]);
        assert!(code == 1 && err.contains("there is no such topic"), "{code}: {err}");

        let check = |topic: &str| recount(&["kafka", "check", "--bootstrap", &servers, "--topic", topic, "--json"]);
        let (code, out, err) = check("clicks=event");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &report["usable"]), (0, &true.into()), "{err}{out}");
        assert_eq!(
            (&report["topics"][0]["may_read"], &report["topics"][0]["broken"]),
            (&true.into(), &0.into()),
            "{out}"
        );
        let (code, out, _) = check("clicks=json");
        assert!(code == 1 && out.contains(r#""name":"format""#), "{code}: {out}");
        let (code, table, _) = recount(&["kafka", "check", "--bootstrap", &servers, "--topic", "clicks=event"]);
        assert!(code == 0 && table.contains("warning replication_one: clicks:"), "{table}");
        let (code, _, err) = recount(&["kafka", "check", "--bootstrap", &servers, "-X", "acks=1"]);
        assert!(code == 2 && err.contains("it is always all"), "{code}: {err}");

        let letters = [dead(b"{1}", "again", "unreadable"), dead(b"\x00\xff", "again", "other"), Record::of("whose?")];
        topics.produce("dlq.clicks", &letters.map(|letter| letter.to(0)));
        let of_topic = ["--topic", "dlq.clicks", "--bootstrap", &servers];
        let (code, out, err) = recount(&[&["quarantine", "list", "--json"][..], &of_topic].concat());
        assert_eq!(code, 0, "{err}");
        let listed = json_lines(&out);
        assert_eq!(
            (listed.len(), &listed[0]["reason"], &listed[0]["position"]["next_offset"]),
            (3, &"unreadable".into(), &7.into())
        );
        assert_eq!(listed[0]["headers"].as_array().unwrap().len(), 1);
        let (code, out, err) = recount(&[&["quarantine", "replay", "--json"][..], &of_topic].concat());
        assert_eq!(code, 0, "{err}");
        let outcome: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&outcome["accepted"], &outcome["skipped"], &outcome["failed"]), (&2.into(), &1.into(), &0.into()));
        let again = topics.consume("again");
        assert_eq!(again.len(), 2);
        assert_eq!((again[1].value.as_deref(), again[1].partition), (Some(&b"\x00\xff"[..]), Some(1)));
        assert_eq!(again[0].key.as_deref(), Some(&b"k"[..]));
        assert_eq!(again[0].headers, [("content-type".to_owned(), Some(b"application/json".to_vec()))]);
        assert_eq!(topics.consume("dlq.clicks").len(), 3, "nothing is removed");
    }
}
