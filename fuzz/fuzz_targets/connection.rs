//! See `crosstalk_broker::fuzzing::connection`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| crosstalk_broker::fuzzing::connection(octets));
