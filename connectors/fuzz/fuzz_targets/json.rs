//! No bytes make the JSON decoder panic, and what it takes is JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if recount_connectors::json::decode(line).is_ok() {
        // Numbers that nobody reads may be out of every range.
        serde_json::from_slice::<serde::de::IgnoredAny>(line).expect("what was decoded is JSON");
    }
});
