//! A walk over an encoded field table (specification section 4.2.5.5) that builds nothing.
//!
//! The method parser recurses once for each nested table or array without a bound, so a 15 KB frame can overflow the
//! stack before the client has even authenticated. Every table is walked here first, with a counter in place of
//! the call stack. It does not know what the keys and values mean.

/// How deep tables and arrays may nest. Real clients use three or four levels (`client-properties` with
/// `capabilities`, `x-death` as an array of tables); 64 leaves room and needs a small part of a 2 MiB stack in the
/// recursive parser, even without optimisation.
pub(crate) const MAX_TABLE_DEPTH: usize = 64;

/// What is wrong with an encoded table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TableError {
    /// Tables or arrays nest deeper than [`MAX_TABLE_DEPTH`].
    #[error("field table nested deeper than {MAX_TABLE_DEPTH} levels")]
    TooDeep,
    /// A length points outside of its container, or the bytes end too early.
    #[error("field table is truncated")]
    Truncated,
    /// A value carries a type tag that AMQP 0-9-1 does not have.
    #[error("unknown field type {0:#04x}")]
    UnknownType(u8),
}

#[derive(Clone, Copy)]
struct Level {
    end: usize,
    is_table: bool,
}

/// Checks the table at the front of `bytes` and returns how many octets it takes, its length prefix included.
///
/// # Errors
/// See [`TableError`].
pub(crate) fn scan_table(bytes: &[u8]) -> Result<usize, TableError> {
    let mut at = 0;
    let total = open_level(bytes, &mut at, bytes.len())?;
    let mut levels = [Level { end: 0, is_table: true }; MAX_TABLE_DEPTH];
    levels[0] = Level { end: total, is_table: true };
    let mut depth = 1;
    while depth > 0 {
        let level = levels[depth - 1];
        if at == level.end {
            depth -= 1;
            continue;
        }
        if level.is_table {
            let key = *bytes.get(at).ok_or(TableError::Truncated)? as usize;
            skip(&mut at, 1 + key, level.end)?;
        }
        let tag = *bytes.get(at).filter(|_| at < level.end).ok_or(TableError::Truncated)?;
        at += 1;
        match tag {
            b'F' | b'A' => {
                let end = open_level(bytes, &mut at, level.end)?;
                *levels.get_mut(depth).ok_or(TableError::TooDeep)? = Level { end, is_table: tag == b'F' };
                depth += 1;
            }
            b'S' | b'x' => at = open_level(bytes, &mut at, level.end)?,
            other => skip(&mut at, fixed_size(other)?, level.end)?,
        }
    }
    Ok(total)
}

/// Reads a length prefix at `at` and returns where what it announces ends.
fn open_level(bytes: &[u8], at: &mut usize, end: usize) -> Result<usize, TableError> {
    let prefix = bytes.get(*at..end).and_then(|rest| rest.first_chunk::<4>()).ok_or(TableError::Truncated)?;
    *at += 4;
    let inner = at.checked_add(u32::from_be_bytes(*prefix) as usize).ok_or(TableError::Truncated)?;
    if inner > end { Err(TableError::Truncated) } else { Ok(inner) }
}

fn skip(at: &mut usize, count: usize, end: usize) -> Result<(), TableError> {
    *at += count;
    if *at > end { Err(TableError::Truncated) } else { Ok(()) }
}

/// How many octets follow a tag whose values have no length of their own.
///
/// # Errors
/// [`TableError::UnknownType`].
pub(super) fn fixed_size(tag: u8) -> Result<usize, TableError> {
    Ok(match tag {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        // `s` is a short integer for RabbitMQ and all clients, not the specification's short string.
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        other => return Err(TableError::UnknownType(other)),
    })
}

/// What RabbitMQ calls the type with this tag in its texts.
pub(crate) fn type_name(tag: u8) -> &'static str {
    match tag {
        b't' => "bool",
        b'b' => "byte",
        b'B' => "unsignedbyte",
        b's' => "short",
        b'u' | b'U' => "unsignedshort",
        b'I' => "signedint",
        b'i' => "unsignedint",
        b'l' | b'L' => "long",
        b'f' => "float",
        b'd' => "double",
        b'D' => "decimal",
        b'S' => "longstr",
        b'x' => "binary",
        b'A' => "array",
        b'T' => "timestamp",
        b'F' => "table",
        _ => "void",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::types::parsing::parse_field_table;
    use proptest::prelude::*;

    fn nested(levels: usize) -> Vec<u8> {
        let mut table = 0u32.to_be_bytes().to_vec();
        for _ in 1..levels {
            let mut outer = ((table.len() + 3) as u32).to_be_bytes().to_vec();
            outer.extend_from_slice(b"\x01aF");
            outer.extend_from_slice(&table);
            table = outer;
        }
        table
    }

    #[test]
    fn depth_is_bounded() {
        let deepest = nested(MAX_TABLE_DEPTH);
        assert_eq!(scan_table(&deepest), Ok(deepest.len()));
        assert_eq!(scan_table(&nested(MAX_TABLE_DEPTH + 1)), Err(TableError::TooDeep));
        assert_eq!(scan_table(&nested(3000)), Err(TableError::TooDeep));
    }

    #[test]
    fn lengths_stay_inside_their_container() {
        assert_eq!(scan_table(&[0, 0, 0, 9, 1, b'a', b't', 1]), Err(TableError::Truncated));
        assert_eq!(scan_table(&[0, 0, 0, 2, 9, b'a']), Err(TableError::Truncated));
        assert_eq!(scan_table(&[0, 0, 0, 3, 1, b'a', b'?']), Err(TableError::UnknownType(b'?')));
        assert_eq!(scan_table(&[0xFF, 0xFF, 0xFF, 0xFF]), Err(TableError::Truncated));
    }

    proptest! {
        #[test]
        fn what_the_parser_takes_the_scan_takes(body in proptest::collection::vec(
            prop_oneof![Just(b'F'), Just(b'A'), Just(b't'), Just(b'S'), 0u8..6, any::<u8>()], 0..60)) {
            let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
            bytes.extend_from_slice(&body);
            let scanned = scan_table(&bytes);
            if parse_field_table(&bytes[..]).is_ok() {
                prop_assert_eq!(scanned, Ok(bytes.len()));
            }
        }
    }
}
