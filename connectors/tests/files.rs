//! Files in: every format and compression, cut in any way, with everything that can be wrong with them.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant};

use recount_connectors::{FileSource, Format, Next, RawError, SourceError, SourceSettings, decode_one};
use support::{Seen, click, gzip, message, path, read, read_with, settings_with, zstd};
use tempfile::tempdir;

fn settings() -> SourceSettings {
    settings_with(2, 1 << 20)
}

fn lines(numbers: &[u32]) -> String {
    numbers.iter().map(|&number| click(number) + "\n").collect()
}

/// Three clicks, two blank lines, two broken lines; no newline at the end.
fn mixed() -> String {
    [&click(1), "", "{\"click\":", "  \r", &click(2), "{\"verdict\":{\"click_id\":\"c\"}}", &click(3)].join("\n")
}

fn details(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter_map(|seen| seen.broken.as_deref()).collect()
}

#[test]
fn a_broken_line_is_named_by_file_and_line() {
    let dir = tempdir().unwrap();
    let file = path(&dir, "mixed.jsonl", mixed().as_bytes());
    let (seen, end) = read(&[&file]);
    end.unwrap();
    assert_eq!(seen.len(), 5);
    let details = details(&seen);
    assert!(details[0].starts_with(&format!("{file}:3: EOF")), "{}", details[0]);
    assert!(details[1].starts_with(&format!("{file}:6: decision is missing")), "{}", details[1]);
    let text = mixed();
    for seen in &seen {
        let line = text[seen.offset as usize..].lines().next().unwrap();
        assert_eq!(seen.payload, line.as_bytes());
        assert_eq!(seen.end, (seen.offset as usize + line.len() + 1).min(text.len()) as u64);
    }
}

#[test]
fn results_do_not_depend_on_threads_blocks_or_compression() {
    let dir = tempdir().unwrap();
    let mut text = String::new();
    for number in 0..3_000 {
        text.push_str(&click(number));
        text.push_str(if number % 7 == 0 { "\n\n" } else { "\n" });
        if number % 11 == 0 {
            text.push_str("no event\n");
        }
    }
    let plain = path(&dir, "a.jsonl", text.as_bytes());
    let (expected, end) = read(&[&plain]);
    end.unwrap();
    assert_eq!(expected.len(), 3_000 + 3_000_usize.div_ceil(11));
    for threads in [1, 2, 3, 8] {
        for block_bytes in [100, 4_096, 1 << 20] {
            let (seen, end) = read_with(&[&plain], threads, block_bytes);
            end.unwrap();
            assert_eq!(seen, expected, "{threads} threads, blocks of {block_bytes}");
        }
    }
    let halves = text.as_bytes().split_at(text.len() / 2);
    let gzipped = [gzip(halves.0), gzip(halves.1)].concat();
    let frames = [zstd(halves.0), zstd(halves.1)].concat();
    for (name, bytes) in [("a.jsonl.gz", &gzipped), ("a.jsonl.zst", &frames), ("a", &gzipped), ("b", &frames)] {
        let file = path(&dir, name, bytes);
        let (seen, end) = read(&[&file]);
        end.unwrap();
        let renamed: Vec<Seen> = expected.iter().map(|seen| seen.renamed(&plain, &file)).collect();
        assert_eq!(seen, renamed, "{name}");
    }
}

#[test]
fn blocks_may_be_cut_at_every_byte() {
    let dir = tempdir().unwrap();
    let text = mixed();
    let file = path(&dir, "mixed.jsonl", text.as_bytes());
    let messages = [message(1), vec![0], message(2), vec![2, 0xff, 0xff], message(3)].concat();
    let protobuf = path(&dir, "mixed.pb", &messages);
    let (expected, _) = read(&[&file, &protobuf]);
    assert_eq!(expected.len(), 10);
    for block_bytes in 1..text.len() + 2 {
        let (seen, end) = read_with(&[&file, &protobuf], 2, block_bytes);
        end.unwrap();
        assert_eq!(seen, expected, "blocks of {block_bytes}");
    }
}

#[test]
fn protobuf_is_read_like_json() {
    let dir = tempdir().unwrap();
    let bytes = [message(1), vec![0], message(2)].concat();
    for (name, bytes) in [("a.pb", bytes.clone()), ("a.pb.gz", gzip(&bytes)), ("unnamed", zstd(&bytes))] {
        let file = path(&dir, name, &bytes);
        let (seen, end) = read(&[&file]);
        end.unwrap();
        assert_eq!(details(&seen), [format!("{file}:2: expected a click or a verdict, found neither")]);
        let offsets: Vec<(u64, u64)> = seen.iter().map(|seen| (seen.offset, seen.end)).collect();
        let first = message(1).len() as u64;
        assert_eq!(offsets, [(0, first), (first, first + 1), (first + 1, 2 * first + 1)]);
        assert_eq!(seen[0].payload, message(1)[1..]);
    }
}

#[test]
fn a_line_over_a_mebibyte_is_quarantined_with_its_length() {
    let dir = tempdir().unwrap();
    let just = "x".repeat(1 << 20);
    let over = "y".repeat((1 << 20) + 1);
    let long = "z".repeat(10 << 20);
    let text = [click(1), just, over, click(2), long].join("\n");
    let file = path(&dir, "long.jsonl", text.as_bytes());
    for block_bytes in [1_000, 1 << 20] {
        let (seen, end) = read_with(&[&file], 2, block_bytes);
        end.unwrap();
        let reasons: Vec<_> = seen.iter().map(|seen| (seen.reason, seen.payload.len(), seen.length)).collect();
        let click = click(1).len();
        let kept = 64 << 10;
        let expected = [
            ("accepted", click, click as u64),
            ("unreadable", 1 << 20, 1 << 20),
            ("record_too_long", kept, (1 << 20) + 1),
            ("accepted", click, click as u64),
            ("record_too_long", kept, 10 << 20),
        ];
        assert_eq!(reasons, expected);
        assert!(details(&seen)[2].starts_with(&format!("{file}:5: the record has 10485760 bytes")));
        assert_eq!(seen[4].end, text.len() as u64);
        for pair in seen.windows(2) {
            assert_eq!(pair[0].end, pair[1].offset);
        }
    }
}

#[test]
fn a_message_over_a_mebibyte_is_passed_over() {
    let dir = tempdir().unwrap();
    let mut bytes = message(1);
    bytes.extend([0x80, 0x80, 0x80, 0x01]);
    bytes.extend(vec![7; 2 << 20]);
    bytes.extend(message(2));
    let file = path(&dir, "long.pb", &bytes);
    let (seen, end) = read(&[&file]);
    end.unwrap();
    let reasons: Vec<_> = seen.iter().map(|seen| (seen.reason, seen.payload.len(), seen.length)).collect();
    let click = message(1).len() - 1;
    assert_eq!(
        reasons,
        [("accepted", click, click as u64), ("record_too_long", 64 << 10, 2 << 20), ("accepted", click, click as u64)]
    );
}

#[test]
fn messages_that_end_early_or_have_no_length_are_one_broken_record() {
    let dir = tempdir().unwrap();
    let varint = vec![0xff; 11];
    let cases = [
        (vec![9, 1, 2], ":2: expected a message of 9 bytes, found the end of the stream after 2", 2),
        (vec![9], ":2: expected a message of 9 bytes, found the end of the stream after 0", 0),
        (vec![0x80], ":2: the stream ends inside the length of a message", 1),
        (vec![0xff, 0xff, 0xff, 0x7f, 1], "found the end of the stream after 1", 1),
        ([varint.clone(), message(2)].concat(), ":2: expected the length of a message at byte", 11 + message(2).len()),
        ([varint, vec![0; 3 << 20]].concat(), "the rest of the stream, 3145739 bytes, can not be read", (3 << 20) + 11),
    ];
    for (tail, detail, length) in cases {
        let file = path(&dir, "cut.pb", &[message(1), tail].concat());
        let (seen, end) = read(&[&file]);
        end.unwrap();
        assert_eq!(seen.len(), 2, "{detail}");
        assert_eq!((seen[1].reason, seen[1].length), ("unreadable", length as u64), "{detail}");
        assert!(details(&seen)[0].contains(detail), "{}", details(&seen)[0]);
        assert_eq!(seen[1].payload.len(), if length > 1 << 20 { 64 << 10 } else { length });
        assert_eq!(seen[1].end, fs::metadata(&file).unwrap().len());
    }
}

#[test]
fn rubbish_is_quarantined_line_by_line() {
    let dir = tempdir().unwrap();
    let file = path(&dir, "rubbish.jsonl", b"\0\0\0\n\xff\xfe\n{\"click\":{\"click_id\":\"\\ud800\"}}\n\n[]");
    let (seen, end) = read(&[&file]);
    end.unwrap();
    assert_eq!(seen.iter().map(|seen| seen.reason).collect::<Vec<_>>(), ["unreadable"; 4]);
    assert!(details(&seen)[1].ends_with(":2: expected UTF-8, found other bytes at column 1"));
    let zeros = path(&dir, "zeros", &vec![0; 5 << 20]);
    let (seen, end) = read(&[&zeros]);
    end.unwrap();
    assert_eq!((seen.len(), seen[0].reason, seen[0].length), (1, "record_too_long", 5 << 20));
}

#[test]
fn empty_files_hold_nothing() {
    let dir = tempdir().unwrap();
    for name in ["empty.jsonl", "empty.pb", "empty"] {
        let (seen, end) = read(&[&path(&dir, name, b"")]);
        end.unwrap();
        assert!(seen.is_empty());
    }
    assert!(read(&[&path(&dir, "blank.jsonl", b"\n\n  \n\r\n")]).0.is_empty());
}

#[test]
fn files_that_can_not_be_opened_are_said_before_anything_is_read() {
    let dir = tempdir().unwrap();
    let good = path(&dir, "good.jsonl", click(1).as_bytes());
    let open_second = |second: &str| FileSource::open(&[good.as_str(), second], settings()).err().unwrap();
    let missing = format!("{good}.missing");
    let error = open_second(&missing);
    assert!(matches!(&error, SourceError::NotFound { file } if *file == missing), "{error}");
    assert!(error.to_string().contains("no such file"));
    let error = open_second(dir.path().to_str().unwrap());
    assert!(matches!(error, SourceError::Directory { .. }), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn a_compressed_file_that_is_cut_gives_its_whole_records_and_an_error() {
    let dir = tempdir().unwrap();
    let text = (0..20_000).map(|number| click(number) + "\n").collect::<String>();
    let expected = read(&[&path(&dir, "whole.jsonl", text.as_bytes())]).0;
    for (name, bytes) in [("cut.jsonl.gz", gzip(text.as_bytes())), ("cut.jsonl.zst", zstd(text.as_bytes()))] {
        let file = path(&dir, name, &bytes[..bytes.len() / 2]);
        let (seen, end) = read(&[&file]);
        let error = end.unwrap_err();
        assert!(matches!(error, SourceError::Truncated { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("{file}: the ")), "{error}");
        assert!(seen.len() > 1_000 && seen.len() < 20_000, "{name}: {}", seen.len());
        assert_eq!(seen, expected[..seen.len()], "the half record at the cut is none");
    }
    let empty = read(&[&path(&dir, "empty.jsonl.gz", b"")]).1;
    assert!(matches!(empty, Err(SourceError::Truncated { .. })), "{empty:?}");
    let file = path(&dir, "none.jsonl.gz", lines(&[1]).as_bytes());
    assert!(matches!(read(&[&file]).1.unwrap_err(), SourceError::Read { .. }));
}

#[test]
fn several_files_are_streams_of_their_own() {
    let dir = tempdir().unwrap();
    let first = path(&dir, "first.jsonl", lines(&[1, 2]).as_bytes());
    let second = path(&dir, "second.jsonl", lines(&[3]).as_bytes());
    let source = FileSource::open(&[&first, &second], settings()).unwrap();
    let names: Vec<_> = source.streams().into_iter().map(|stream| (stream.source, stream.partition)).collect();
    assert_eq!(names, [(first.clone(), 0), (second.clone(), 0)]);
    assert_eq!(source.progress().bytes_total(), Some((lines(&[1, 2]).len() + lines(&[3]).len()) as u64));
    drop(source);
    let (seen, _) = read(&[&first, &second]);
    assert_eq!(seen.iter().map(|seen| seen.stream).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn thousands_of_files_are_read_in_turn() {
    let dir = tempdir().unwrap();
    let files: Vec<String> =
        (0..3_000).map(|number| path(&dir, &format!("{number}.jsonl"), click(number).as_bytes())).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (seen, end) = read(&files);
    end.unwrap();
    assert_eq!(seen.iter().map(|seen| u32::from(seen.stream)).collect::<Vec<_>>(), (0..3_000).collect::<Vec<_>>());
}

#[test]
fn raw_records_are_found_again() {
    let dir = tempdir().unwrap();
    let plain = path(&dir, "a.jsonl", lines(&[1, 2, 3]).as_bytes());
    let gzipped = path(&dir, "a.jsonl.gz", &gzip(lines(&[1, 2, 3]).as_bytes()));
    let protobuf = path(&dir, "a.pb.zst", &zstd(&[message(1), message(2)].concat()));
    let files = [&plain, &gzipped, &protobuf];
    let mut source = FileSource::open(&files, SourceSettings { spool: true, ..settings() }).unwrap();
    let store = source.raw_store();
    assert!(matches!(store.record(9, 0), Err(RawError::UnknownStream { .. })));
    let mut records = 0;
    while let Some(batch) = source.next_batch().unwrap() {
        for fact in &batch.facts {
            let position = fact.position();
            let raw = store.record(position.stream, position.offset).unwrap();
            assert_eq!(raw.bytes, batch.raw.record(position.offset).0);
            assert!(decode_one(raw.format, &raw.bytes).unwrap().event.is_some());
            records += 1;
        }
    }
    drop(source);
    assert_eq!(records, 8);
    assert_eq!(store.record(2, 0).unwrap().format, Format::Protobuf);
    assert!(matches!(store.record(0, 1 << 30), Err(RawError::Gone { .. })));

    let mut source = FileSource::open(&[&gzipped], settings()).unwrap();
    assert!(source.next_batch().unwrap().is_some());
    let error = source.raw_store().record(0, 0).unwrap_err();
    assert!(matches!(error, RawError::NotKept { .. }), "{error}");
}

#[test]
fn a_pipe_is_read_once_and_spooled_where_asked() {
    let dir = tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, gzip(lines(&[1, 2]).as_bytes())).unwrap()
    });
    let spooling = SourceSettings { spool: true, ..settings() };
    let mut source = FileSource::open(&[pipe.to_str().unwrap()], spooling).unwrap();
    assert_eq!(source.progress().bytes_total(), None);
    let batch = source.next_batch().unwrap().unwrap();
    assert_eq!(batch.records(), 2);
    assert!(source.next_batch().unwrap().is_none());
    writer.join().unwrap();
    let second = batch.facts[1].position().offset;
    assert_eq!(source.raw_store().record(0, second).unwrap().bytes, click(2).as_bytes());
}

#[test]
fn a_followed_file_gives_what_is_appended() {
    let dir = tempdir().unwrap();
    let file = path(&dir, "grows.jsonl", lines(&[1]).as_bytes());
    let following = || SourceSettings { follow: true, ..settings() };
    let mut source = FileSource::open(&[&file], following()).unwrap();
    assert_eq!(source.progress().bytes_total(), None);
    let mut records = |wanted: usize| {
        let (mut records, start) = (0, Instant::now());
        while records < wanted && start.elapsed() < Duration::from_secs(20) {
            match source.next_within(Duration::from_millis(20)).unwrap() {
                Next::Batch(batch) => records += batch.records(),
                Next::Waiting => {}
                Next::End => panic!("a followed file does not end"),
            }
        }
        records
    };
    assert_eq!(records(1), 1);
    let mut appended = OpenOptions::new().append(true).open(&file).unwrap();
    let both = lines(&[2, 3]);
    let (head, tail) = both.split_at(click(2).len() + 10);
    appended.write_all(head.as_bytes()).unwrap();
    assert_eq!(records(1), 1, "half a line waits for its end");
    appended.write_all(tail.as_bytes()).unwrap();
    assert_eq!(records(1), 1);
    source.stopper().stop();
    assert!(source.next_batch().unwrap().is_none());

    let mut source = FileSource::open(&[&file], following()).unwrap();
    assert_eq!(source.next_batch().unwrap().unwrap().records(), 3);
    File::create(&file).unwrap();
    assert!(matches!(source.next_batch(), Err(SourceError::Shrunk { length: 0, .. })));

    let gzipped = path(&dir, "a.jsonl.gz", b"");
    assert!(matches!(FileSource::open(&[&gzipped], following()), Err(SourceError::Follow { .. })));
    assert!(matches!(FileSource::open(&[&file, &file], following()), Err(SourceError::Follow { .. })));
}

#[test]
fn a_source_may_be_dropped_at_any_time() {
    let dir = tempdir().unwrap();
    let text = (0..50_000).map(|number| click(number) + "\n").collect::<String>();
    let file = path(&dir, "a.jsonl", text.as_bytes());
    for taken in 0..4 {
        let mut source = FileSource::open(&[&file, &file], settings_with(3, 10_000)).unwrap();
        for _ in 0..taken {
            source.next_batch().unwrap();
        }
    }
}
