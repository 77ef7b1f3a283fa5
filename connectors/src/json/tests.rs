use proptest::prelude::*;
use recount_dataflow::domain::event::{Click, Decision, Event, LongestOther, Verdict};

use super::*;

fn click(line: &str) -> Click<'_> {
    match decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}")).event {
        Some(Event::Click(click)) => click,
        other => panic!("{line}: {other:?}"),
    }
}

fn verdict(line: &str) -> Verdict<'_> {
    match decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}")).event {
        Some(Event::Verdict(verdict)) => verdict,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: impl AsRef<[u8]>, detail: &str) {
    let line = line.as_ref();
    let shown = String::from_utf8_lossy(line);
    let violation = decode(line).expect_err(&shown);
    assert_eq!(violation.reason.as_str(), "unreadable");
    assert!(violation.detail.contains(detail), "{shown}: {}", violation.detail);
}

#[test]
fn a_click_with_all_its_fields() {
    let full = Click {
        click_id: "c".into(),
        ad_id: "a".into(),
        event_ms: 1_700_000_000_000,
        user_id: "u".into(),
        price_micros: 25,
        received_at_ms: 1_700_000_000_500,
        longest_other: LongestOther { field: "user_agent", bytes: 12 },
    };
    let snake = r#"{"click":{"click_id":"c","ad_id":"a","timestamp_ms":1700000000000,"user_id":"u","price_micros":25,
        "advertiser_id":"x","campaign_id":"x","creative_id":"x","publisher_id":"x","placement_id":"x","session_id":"x",
        "country":"NL","device":"x","ip":"::1","user_agent":"123456789012","received_at_ms":1700000000500}}"#;
    assert_eq!(click(snake), full);
    let camel = r#"{"click":{"clickId":"c","adId":"a","timestampMs":"1700000000000","userId":"u","priceMicros":"25",
        "advertiserId":"x","campaignId":"x","creativeId":"x","publisherId":"x","placementId":"x","sessionId":"x",
        "country":"NL","device":"x","ip":"::1","userAgent":"123456789012","receivedAtMs":"2023-11-14T22:13:20.5Z"}}"#;
    assert_eq!(click(camel), full);
    for name in ["timestamp", "timestamp_ms", "timestampMs"] {
        assert_eq!(click(&format!(r#"{{"click":{{"{name}":7}}}}"#)).event_ms, 7);
    }
    for name in ["received_at", "received_at_ms", "receivedAt", "receivedAtMs"] {
        assert_eq!(click(&format!(r#"{{"click":{{"{name}":7}}}}"#)).received_at_ms, 7);
    }
}

#[test]
fn a_verdict_with_all_its_fields() {
    let line = r#"{"verdict":{"clickId":"c","decision":"INVALID","timestamp":7,"reason":"givt","modelVersion":"v1","score":0.1}}"#;
    let expected = Verdict {
        click_id: "c".into(),
        decision: Some(Decision::Invalid),
        decided_ms: 7,
        reason: "givt".into(),
        model_version: "v1".into(),
        score: 0.1,
        longest_other: LongestOther { field: "reason", bytes: 4 },
    };
    assert_eq!(verdict(line), expected);
    let decision = |value: &str| verdict(&format!(r#"{{"verdict":{{"decision":{value}}}}}"#)).decision;
    assert_eq!(decision("2"), Some(Decision::Valid));
    assert_eq!(decision("\"VALID\""), Some(Decision::Valid));
    assert_eq!(decision("0"), None);
    assert_eq!(decision("9"), None);
    assert_eq!(decision("null"), None);
    assert_eq!(decision("\"DECISION_UNSPECIFIED\""), None);
    refused(r#"{"verdict":{"decision":"valid"}}"#, "verdict.decision: expected \"INVALID\" or \"VALID\"");
    refused(r#"{"verdict":{"decision":true}}"#, "found a boolean");
    let score = |value: &str| verdict(&format!(r#"{{"verdict":{{"score":{value}}}}}"#)).score;
    assert_eq!(score("-1.5e-3"), -0.0015);
    assert_eq!(score("\"2.5\""), 2.5);
    assert_eq!(score("\"-Infinity\""), f64::NEG_INFINITY);
    assert!(score("\"NaN\"").is_nan());
    refused(r#"{"verdict":{"score":1e999}}"#, "verdict.score: expected a number");
    refused(r#"{"verdict":{"score":"1.5 "}}"#, "verdict.score: expected a number");
    refused(r#"{"verdict":{"score":"inf"}}"#, "verdict.score: expected a number");
}

#[test]
fn an_id_that_is_an_integer_is_its_decimal_text() {
    let id = |value: &str| click(&format!(r#"{{"click":{{"click_id":{value}}}}}"#)).click_id.into_owned();
    assert_eq!(id("12"), "12");
    assert_eq!(id("-12"), "-12");
    assert_eq!(id("-0"), "0");
    assert_eq!(id("123456789012345678901234567890"), "123456789012345678901234567890");
    refused(r#"{"click":{"ad_id":1.0}}"#, "click.ad_id: expected a string or an integer, found 1.0");
    refused(r#"{"click":{"ad_id":1e3}}"#, "click.ad_id");
    refused(r#"{"click":{"ad_id":true}}"#, "found a boolean");
    refused(r#"{"click":{"ad_id":["a"]}}"#, "found an array");
    refused(r#"{"click":{"ad_id":{}}}"#, "found an object");
    refused(r#"{"click":{"country":31}}"#, "click.country: expected a string, found 31");
}

#[test]
fn integers_are_whole_and_fit_64_bits() {
    let price = |value: &str| click(&format!(r#"{{"click":{{"price_micros":{value}}}}}"#)).price_micros;
    assert_eq!(price("9223372036854775807"), i64::MAX);
    assert_eq!(price("\"-9223372036854775808\""), i64::MIN);
    assert_eq!(price("-0"), 0);
    for broken in ["1.5", "1.0", "1e3", "9223372036854775808", "\"\"", "\"1.0\"", "\" 1\"", "\"+1\"", "true", "[1]"] {
        refused(format!(r#"{{"click":{{"price_micros":{broken}}}}}"#), "click.price_micros: expected a 64-bit integer");
    }
    refused(r#"{"click":{"timestamp":"yesterday"}}"#, "integer milliseconds or RFC 3339");
    refused(r#"{"click":{"timestamp":1700000000000.5}}"#, "integer milliseconds or RFC 3339");
    refused(r#"{"click":{"price_micros":01}}"#, "column");
}

#[test]
fn null_is_absent() {
    assert_eq!(click(r#"{"verdict":null,"click":{"click_id":null,"timestamp":null}}"#), Click::default());
    assert_eq!(decode(br#"{"click":null}"#), Ok(Decoded { event: None, unknown_fields: 0 }));
    assert_eq!(decode(b"{}"), Ok(Decoded { event: None, unknown_fields: 0 }));
}

#[test]
fn unknown_fields_are_ignored_and_counted() {
    let line = r#"{"v":{"a":[1,{"b":"\u00e9"}]},"click":{"click_id":"c","x":1,"y":"2","z":null}}"#;
    let decoded = decode(line.as_bytes()).unwrap();
    assert_eq!(decoded.unknown_fields, 3);
    assert_eq!(decoded.event, Some(Event::Click(Click { click_id: "c".into(), ..Click::default() })));
    assert_eq!(decode(br#"{"impression":{}}"#), Ok(Decoded { event: None, unknown_fields: 1 }));
}

#[test]
fn keys_and_strings_may_be_escaped() {
    assert_eq!(click(r#"{"\u0063lick":{"click\u005fid":"\u00e9\ud83d\ude00\n"}}"#).click_id, "é😀\n");
    assert_eq!(click("{\"click\":{\"click_id\":\"é😀\"}}").click_id, "é😀");
}

#[test]
fn a_key_twice_is_refused_wherever_it_is() {
    refused(r#"{"click":{},"click":{}}"#, "key \"click\" is there twice");
    refused(r#"{"click":{"ad_id":"a","ad_id":"a"}}"#, "key \"ad_id\" is there twice");
    refused(r#"{"click":{"ad_id":"a","ad\u005fid":"a"}}"#, "key \"ad_id\" is there twice");
    refused(r#"{"click":{"ad_id":"a","adId":"a"}}"#, "click.ad_id is there twice");
    refused(r#"{"click":{"timestamp":1,"timestampMs":null}}"#, "click.timestamp is there twice");
    refused(r#"{"click":{"x":1,"x":1}}"#, "twice");
    refused(r#"{"click":{"x":[{"y":1,"y":2}]}}"#, "twice");
    refused(r#"{"x":{"y":1,"y":2}}"#, "twice");
}

#[test]
fn what_is_no_event_is_refused() {
    refused(r#"{"click":{},"verdict":{}}"#, "expected one of click and verdict, found both");
    refused("[]", "expected a JSON object");
    refused("7", "expected a JSON object");
    refused("null", "expected a JSON object");
    refused(r#"{"click":[]}"#, "click: invalid type");
    refused(r#"{"click":"c"}"#, "click: invalid type");
    refused(r#"{"click":{}} {}"#, "trailing characters at column 14");
    refused(r#"{"click":{}"#, "EOF");
    refused("\0\0", "expected value at column 1");
    refused(b"{\"click\":{\"click_id\":\"\xff\"}}", "expected UTF-8, found other bytes at column 23");
    refused("{\"click\":{\"click_id\":\"a\tb\"}}", "control character");
    refused(r#"{"click":{"click_id":"\ud800"}}"#, "click.click_id");
    refused(r#"{"click":{"x":"\ud800"}}"#, "click.x");
    refused(r#"{"x":["\udc00a"]}"#, "x:");
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    refused(deep, "nested over 64 deep");
}

/// A value of any kind, of the right one more often than not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "\"[a-z0-9é😀-]{0,20}\"",
        4 => "-?(0|[1-9][0-9]{0,19})",
        2 => "\"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-][01][0-9]:[0-5][0-9])\"",
        2 => "\"(INVALID|VALID)\"",
        1 => "-?[0-9]{1,3}\\.[0-9]{1,3}([eE]-?[0-9]{1,2})?",
        1 => "\"(\\\\u[0-9a-f]{4}|\\\\n|[a-z]){0,3}\"",
        1 => "(null|true|false|\\[1,2\\]|\\{\\}|\\{\"a\":1\\}|01|-|\\.5)",
        1 => "\"-?[0-9]{1,20}\"",
    ]
}

fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "click_id",
        "clickId",
        "ad_id",
        "timestamp",
        "timestamp_ms",
        "user_id",
        "price_micros",
        "campaign_id",
        "country",
        "received_at",
        "decision",
        "reason",
        "model_version",
        "score",
        "ip",
        "unknown",
        "other",
        "",
    ]);
    known.prop_map(str::to_owned)
}

/// A line that is an event, nearly one, or broken.
fn line() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((key(), value()), 0..7);
    let space = prop::sample::select(vec!["", "", " ", "  ", "\t"]);
    let head = prop::sample::select(vec![
        "{\"click\":{",
        "{ \"verdict\" : {",
        "{\"other\":1,\"click\":{",
        "{\"click\":{},\"click\":{",
    ]);
    let tail = prop::sample::select(vec!["}}", "}}", "} } ", "},\"x\":null}", "}", "}}}", "}}\r"]);
    (head, members, space, tail).prop_map(|(head, members, space, tail)| {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}")).collect();
        format!("{head}{}{tail}", members.join(","))
    })
}

/// Holds the fast reader to the definition.
fn check_agreement(line: &str) -> Result<(), TestCaseError> {
    if let Some(decoded) = fast::event(line) {
        prop_assert_eq!(Ok(decoded), slow::event(line), "{}", line);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn both_readers_agree(line in line()) {
        check_agreement(&line)?;
    }

    #[test]
    fn both_readers_agree_on_edited_lines(line in line(), edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~é\\x00-\\x1f]"), 1..3)) {
        let mut characters: Vec<char> = line.chars().collect();
        for (at, character) in edits {
            let at = at.index(characters.len());
            characters[at] = character.chars().next().unwrap();
        }
        check_agreement(&characters.into_iter().collect::<String>())?;
    }

    /// What the definition takes is JSON, and what it refuses for its syntax is none.
    #[test]
    fn the_definition_agrees_with_serde_json(line in line()) {
        let is_json = serde_json::from_str::<serde_json::Value>(&line).is_ok();
        match slow::event(&line) {
            Ok(_) => prop_assert!(is_json, "{}", line),
            Err(detail) => prop_assert!(!is_json || detail.contains("click") || detail.contains("verdict") || detail.contains("twice"), "{} {}", line, detail),
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode(&bytes);
    }
}

#[test]
fn the_common_shape_takes_the_fast_reader() {
    let lines = [
        r#"{"click":{"click_id":"td-054955","ad_id":"app12-ch178","timestamp":1509984000000,"user_id":"48646-1-19","price_micros":115028,"campaign_id":"app12"}}"#,
        r#"{"click": {"click_id": "a", "ad_id": 5, "timestamp": "2023-11-14T22:13:20Z", "price_micros": "1"}}"#,
        r#"{"verdict":{"click_id":"a","decision":"INVALID","timestamp":1509984567116,"reason":"sivt:ip_rate","score":0.75}}"#,
        r#"{"click":{"click_id":"a","x":1.5,"y":true,"z":"text","timestamp":7,"w":false}}"#,
    ];
    for line in lines {
        assert!(fast::event(line).is_some(), "{line}");
    }
}
