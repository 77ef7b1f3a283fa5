//! Of any bytes: prost and our reader refuse both, or read the same, and what prost writes again is read the same again. Ours alone
//! refuses more than one body.

#![no_main]

#[path = "../../src/protobuf/expected.rs"]
mod expected;

use expected::expected;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use recount_connectors::protobuf;
use recount_proto::v1;

fuzz_target!(|message: &[u8]| {
    let ours = protobuf::decode(message);
    match (&ours, v1::Event::decode(message)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(format!("{:?}", ours.event), format!("{:?}", expected(&theirs)));
            let again = theirs.encode_to_vec();
            let again = protobuf::decode(&again).expect("what prost writes is read");
            assert_eq!(format!("{:?}", again.event), format!("{:?}", ours.event));
            assert_eq!(again.unknown_fields, 0);
        }
        (Ok(ours), Err(theirs)) => panic!("prost refuses ({theirs}) what we read as {ours:?}"),
        (Err(ours), Ok(theirs)) => assert!(ours.detail.contains("one body"), "{}: {theirs:?}", ours.detail),
        (Err(_), Err(_)) => {}
    }
});
