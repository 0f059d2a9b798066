//! See `crosstalk_broker::fuzzing::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| crosstalk_broker::fuzzing::frames(octets));
