//! See `crosstalk_broker::fuzzing::permissions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| crosstalk_broker::fuzzing::permissions(octets));
