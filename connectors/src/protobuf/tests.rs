use proptest::prelude::*;
use prost::Message as _;
use recount_dataflow::domain::event::{Click, Event};
use recount_proto::v1;

use super::expected::expected;
use super::*;

fn clicks() -> impl Strategy<Value = v1::Click> {
    let ids = prop::array::uniform3("\\PC{0,12}");
    let others = prop::array::uniform10("[a-z]{0,4}");
    (ids, others, any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(ids, others, event_ms, price, received_ms)| {
        let [click_id, ad_id, user_id] = ids;
        let [
            advertiser_id,
            campaign_id,
            creative_id,
            publisher_id,
            placement_id,
            session_id,
            country,
            device,
            ip,
            agent,
        ] = others;
        v1::Click {
            click_id,
            ad_id,
            timestamp_ms: event_ms,
            user_id,
            price_micros: price,
            advertiser_id,
            campaign_id,
            creative_id,
            publisher_id,
            placement_id,
            session_id,
            country,
            device,
            ip,
            user_agent: agent,
            received_at_ms: received_ms,
        }
    })
}

fn verdicts() -> impl Strategy<Value = v1::Verdict> {
    (prop::array::uniform3("\\PC{0,12}"), -1..4, any::<i64>(), any::<f64>()).prop_map(|(texts, decision, ms, score)| {
        let [click_id, reason, model_version] = texts;
        v1::Verdict { click_id, decision, timestamp_ms: ms, reason, model_version, score }
    })
}

fn events() -> impl Strategy<Value = v1::Event> {
    let click = clicks().prop_map(|click| Some(v1::event::Body::Click(click)));
    let verdict = verdicts().prop_map(|verdict| Some(v1::event::Body::Verdict(verdict)));
    prop_oneof![4 => click, 2 => verdict, 1 => Just(None)].prop_map(|body| v1::Event { body })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn reads_what_prost_writes(event in events()) {
        let bytes = event.encode_to_vec();
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(decoded.unknown_fields, 0);
        prop_assert_eq!(decoded.event, expected(&event));
    }

    /// Mutated messages: both refuse, or both read the same.
    #[test]
    fn agrees_with_prost_on_broken_bytes(event in events(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let mut bytes = event.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 8);
        match (decode(&bytes), v1::Event::decode(bytes.as_slice())) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(format!("{:?}", ours.event), format!("{:?}", expected(&theirs))),
            (Ok(ours), Err(theirs)) => prop_assert!(false, "prost refuses ({}) what we read as {:?}", theirs, ours),
            (Err(ours), Ok(_)) => prop_assert!(ours.detail.contains("one body"), "{}", ours.detail),
            (Err(_), Err(_)) => {}
        }
    }

    /// Two messages one after the other are one in which the last of each field wins.
    #[test]
    fn the_last_of_a_field_wins(first in clicks(), second in clicks()) {
        let mut body = first.encode_to_vec();
        body.extend(second.encode_to_vec());
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(1, &body, &mut bytes);
        let merged = v1::Event::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(decode(&bytes).unwrap().event, expected(&merged));
    }
}

#[test]
fn unknown_fields_are_counted_in_the_event_and_its_body() {
    let bytes = [0x0a, 5, 0x0a, 1, b'c', 0x98, 0x06, 7, 0x1a, 0];
    // The body ends after the tag of field 99: its value lies outside.
    assert!(decode(&bytes).is_err());
    let bytes = [0x0a, 6, 0x0a, 1, b'c', 0x98, 0x06, 7, 0x1a, 0];
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded.unknown_fields, 2);
    assert_eq!(decoded.event, Some(Event::Click(Click { click_id: "c".into(), ..Click::default() })));
}

#[test]
fn of_two_equally_long_strings_the_same_is_named_in_any_order() {
    // placement_id is field 10 and creative_id is field 8: later on the wire, the same to a reader who goes by number.
    let bytes = [0x0a, 8, 0x52, 2, b'p', b'p', 0x42, 2, b'c', b'c'];
    let generated = v1::Event::decode(bytes.as_slice()).unwrap();
    assert_eq!(decode(&bytes).unwrap().event, expected(&generated));
}

#[test]
fn what_can_not_be_read_is_said() {
    let cases: [(&[u8], &str); 6] = [
        (&[0x0a, 0, 0x12, 0], "expected one body"),
        (&[0x08, 0], "another wire type"),
        (&[0x0a, 2, 0x08, 0], "click.click_id"),
        (&[0x0a, 3, 0x0a, 1, 0xff], "expected UTF-8"),
        (&[0x0a, 9], "ends inside a value"),
        (&[0x00], "no valid field number"),
    ];
    for (bytes, detail) in cases {
        let violation = decode(bytes).unwrap_err();
        assert_eq!(violation.reason.as_str(), "unreadable");
        assert!(violation.detail.contains(detail), "{}", violation.detail);
    }
    assert_eq!(decode(&[]).unwrap().event, None);
}
