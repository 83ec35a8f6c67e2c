//! Fuzzes a request's headers: those of the record, encodings, credentials; see `kproxy::fuzzed::headers` for what has to hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kproxy::fuzzed::headers(data));
