//! Method frames to methods. The arguments are parsed by `amq-protocol`, after the field table in them was walked.
//!
//! Does not know which methods make sense when; that is the connection's and the engine's business.

use amq_protocol::protocol::{AMQPClass, parse_class};

use super::table::scan_table;
use crate::exception::Exception;

/// The class and method id at the front of a method payload, `(0, 0)` if it is shorter than that.
pub(crate) fn method_ids(payload: &[u8]) -> (u16, u16) {
    match payload.first_chunk::<4>() {
        Some(&[c0, c1, m0, m1]) => (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])),
        None => (0, 0),
    }
}

/// The short strings of a client's method: how many octets lie before them, and how many they are. None are mentioned
/// that come after something else, such as a field table.
fn short_strings(ids: (u16, u16)) -> (usize, usize) {
    match ids {
        (10, 40) => (0, 1), // connection.open
        (10, 50) => (2, 1), // connection.close
        (20, 40) => (2, 1), // channel.close
        (40, 10) => (2, 2), // exchange.declare
        (40, 20) => (2, 1), // exchange.delete
        (40, 30) => (2, 3), // exchange.bind
        (40, 40) => (2, 3), // exchange.unbind
        (50, 10) => (2, 1), // queue.declare
        (50, 20) => (2, 3), // queue.bind
        (50, 30) => (2, 1), // queue.purge
        (50, 40) => (2, 1), // queue.delete
        (50, 50) => (2, 3), // queue.unbind
        (60, 20) => (2, 2), // basic.consume
        (60, 30) => (0, 1), // basic.cancel
        (60, 40) => (2, 2), // basic.publish
        (60, 70) => (2, 1), // basic.get
        (10, 10) => (2, 0), // connection.start, which no client sends but the parser would parse
        _ => (0, 0),
    }
}

/// How many octets of bits lie between the short strings of a client's method and its field table; `None` if it has
/// no table.
fn bits_before_table(ids: (u16, u16)) -> Option<usize> {
    match ids {
        (10, 10 | 11) | (50, 50) => Some(0),
        (40, 10 | 30 | 40) | (50, 10 | 20) | (60, 20) => Some(1),
        _ => None,
    }
}

/// Walks over the short strings of a method and returns where they end.
///
/// # Errors
/// [`Exception::BadArguments`] if the payload ends before, [`Exception::NotUtf8`].
fn walk_short_strings(payload: &[u8], ids: (u16, u16)) -> Result<usize, Exception> {
    let too_short = || Exception::BadArguments { class_id: ids.0, method_id: ids.1 };
    let (before, count) = short_strings(ids);
    let mut at = 4 + before;
    for _ in 0..count {
        let length = *payload.get(at).ok_or_else(too_short)? as usize;
        let string = payload.get(at + 1..at + 1 + length).ok_or_else(too_short)?;
        std::str::from_utf8(string).map_err(|_| Exception::NotUtf8)?;
        at += 1 + length;
    }
    Ok(at)
}

/// Parses the payload of a method frame.
///
/// # Errors
/// [`Exception::BadTable`] when a field table nests too deep or is malformed, [`Exception::UnknownMethod`] when no
/// such method exists, [`Exception::BadArguments`] or [`Exception::NotUtf8`] when its arguments do not parse. All of them end the connection.
pub(crate) fn decode_method(payload: &[u8]) -> Result<AMQPClass, Exception> {
    let ids = method_ids(payload);
    if let Some(bits) = bits_before_table(ids) {
        let table_at = walk_short_strings(payload, ids)? + bits;
        scan_table(payload.get(table_at..).unwrap_or_default()).map_err(Exception::BadTable)?;
    }
    // The parser drops prefetch-size, which RabbitMQ's clients must see refused (errata of basic.qos).
    if ids == (60, 10)
        && let Some(size) = payload.get(4..).and_then(|rest| rest.first_chunk::<4>())
        && *size != [0; 4]
    {
        return Err(Exception::PrefetchSize(u32::from_be_bytes(*size)));
    }
    match parse_class(payload) {
        Ok((_, method)) => Ok(method),
        Err(_) if is_known(ids) => {
            // Methods without a table have not been walked yet, because it costs time and few fail.
            walk_short_strings(payload, ids)?;
            Err(Exception::BadArguments { class_id: ids.0, method_id: ids.1 })
        }
        Err(_) => Err(Exception::UnknownMethod { class_id: ids.0, method_id: ids.1 }),
    }
}

fn is_known((class_id, method_id): (u16, u16)) -> bool {
    match class_id {
        10 => matches!(method_id, 10 | 11 | 20 | 21 | 30 | 31 | 40 | 41 | 50 | 51 | 60 | 61 | 70 | 71),
        20 => matches!(method_id, 10 | 11 | 20 | 21 | 40 | 41),
        30 => matches!(method_id, 10 | 11),
        40 => matches!(method_id, 10 | 11 | 20 | 21 | 30 | 31 | 40 | 51),
        50 => matches!(method_id, 10 | 11 | 20 | 21 | 30 | 31 | 40 | 41 | 50 | 51),
        60 => {
            matches!(method_id, 10 | 11 | 20 | 21 | 30 | 31 | 40 | 50 | 60 | 70..=72 | 80 | 90 | 100 | 110 | 111 | 120)
        }
        85 => matches!(method_id, 10 | 11),
        90 => matches!(method_id, 10 | 11 | 20 | 21 | 30 | 31),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_deeply_nested_table_is_refused_not_parsed() {
        let mut table = 0u32.to_be_bytes().to_vec();
        for _ in 0..3000 {
            let mut outer = ((table.len() + 3) as u32).to_be_bytes().to_vec();
            outer.extend_from_slice(b"\x01aF");
            outer.extend_from_slice(&table);
            table = outer;
        }
        let mut payload = vec![0, 50, 0, 10, 0, 0, 1, b'q', 0];
        payload.extend_from_slice(&table);
        assert!(matches!(decode_method(&payload), Err(Exception::BadTable(_))));
        let mut payload = vec![0, 10, 0, 11];
        payload.extend_from_slice(&table);
        assert!(matches!(decode_method(&payload), Err(Exception::BadTable(_))));
    }

    #[test]
    fn a_prefetch_size_is_refused() {
        let payload = [0, 60, 0, 10, 0, 0, 0, 10, 0, 1, 0];
        assert_eq!(decode_method(&payload), Err(Exception::PrefetchSize(10)));
    }

    #[test]
    fn unknown_methods_and_bad_arguments_are_told_apart() {
        assert!(matches!(decode_method(&[0, 99, 0, 1]), Err(Exception::UnknownMethod { class_id: 99, .. })));
        assert!(matches!(decode_method(&[0, 60, 0, 40]), Err(Exception::BadArguments { method_id: 40, .. })));
        assert!(decode_method(&[]).is_err());
    }

    #[test]
    fn strings_that_are_not_utf_8_are_told_apart_with_a_table_and_without() {
        assert_eq!(decode_method(b"\x00\x32\x00\x0a\x00\x00\x01\xff\x00\x00\x00\x00\x00"), Err(Exception::NotUtf8));
        assert_eq!(decode_method(b"\x00\x3c\x00\x28\x00\x00\x00\x02k\xff\x00"), Err(Exception::NotUtf8));
    }

    proptest! {
        #[test]
        fn no_payload_panics(
            ids in prop_oneof![Just((50u8, 10u8)), Just((60, 20)), Just((60, 40)), Just((40, 30)), any::<(u8, u8)>()],
            arguments in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200),
        ) {
            let mut payload = vec![0, ids.0, 0, ids.1];
            payload.extend_from_slice(&arguments);
            let _ = decode_method(&payload);
        }
    }
}
