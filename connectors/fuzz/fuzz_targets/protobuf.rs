//! No bytes make the protobuf decoder panic, and what it takes prost takes too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use recount_proto::v1;

fuzz_target!(|message: &[u8]| {
    if let Ok(decoded) = recount_connectors::protobuf::decode(message) {
        let event = v1::Event::decode(message).expect("what was decoded is an event");
        assert_eq!(decoded.event.is_some(), event.body.is_some());
    }
});
