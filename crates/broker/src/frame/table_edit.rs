//! Encoded field tables that are changed as bytes (specification section 4.2.5.5).
//!
//! What is not changed stays as it came: the order, duplicate keys, and type tags that a parser would not give back.
//! Does not know what the keys mean. What is malformed ends the walk: tables were checked when they came in.

use super::table::fixed_size;

/// The entries of a table, encoded, without the length prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawTable(Vec<u8>);

/// The type tags that are looked at.
const ARRAY: u8 = b'A';
const TABLE: u8 = b'F';
const LONG_STRING: u8 = b'S';
const LONG: u8 = b'l';
const TIMESTAMP: u8 = b'T';

impl RawTable {
    /// The table that begins with this length prefix.
    pub(crate) fn of(encoded: &[u8]) -> Self {
        Self(sized(encoded).unwrap_or_default().to_vec())
    }

    /// With the length prefix.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        with_length(&self.0)
    }

    /// The value of the first entry with this key.
    pub(crate) fn get(&self, key: &str) -> Option<RawValue<'_>> {
        self.entries().find(|(_, name, _)| *name == key.as_bytes()).map(|(_, _, value)| value)
    }

    /// Gives a key one value: in the place of the first entry with this key, or at the end.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) {
        let same: Vec<_> = self.entries().filter(|(_, name, _)| *name == key.as_bytes()).map(|(at, ..)| at).collect();
        let place = same.first().map_or(self.0.len(), |first| first.start);
        for range in same.into_iter().rev() {
            self.0.drain(range);
        }
        let entry = [&[key.len() as u8], key.as_bytes(), value].concat();
        self.0.splice(place..place, entry);
    }

    /// Appends an entry whose key is not there yet.
    pub(crate) fn with(mut self, key: &str, value: &[u8]) -> Self {
        self.0.push(key.len() as u8);
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// Without the entries of a key.
    pub(crate) fn without(&self, key: &str) -> Self {
        let kept = self.entries().filter(|(_, name, _)| *name != key.as_bytes());
        Self(kept.flat_map(|(range, ..)| &self.0[range]).copied().collect())
    }

    /// Where each entry is, its key and its value.
    fn entries(&self) -> impl Iterator<Item = (std::ops::Range<usize>, &[u8], RawValue<'_>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = self.0.get(at..)?;
            let (length, rest) = rest.split_first()?;
            let (key, rest) = rest.split_at_checked(usize::from(*length))?;
            let value = RawValue::first(rest)?;
            let start = at;
            at += 1 + key.len() + value.0.len();
            Some((start..at, key, value))
        })
    }
}

/// An encoded value with its type tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawValue<'a>(&'a [u8]);

impl<'a> RawValue<'a> {
    /// The value at the front.
    fn first(octets: &'a [u8]) -> Option<Self> {
        let (tag, rest) = octets.split_first()?;
        let size = match *tag {
            TABLE | ARRAY | LONG_STRING | b'x' => 4 + sized(rest)?.len(),
            other => fixed_size(other).ok()?,
        };
        octets.get(..1 + size).map(Self)
    }

    /// The type tag.
    pub(crate) fn tag(self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The text of a long string.
    pub(crate) fn long_string(self) -> Option<&'a [u8]> {
        self.0.strip_prefix(&[LONG_STRING]).and_then(sized)
    }

    /// A long integer.
    pub(crate) fn long(self) -> Option<i64> {
        self.0.strip_prefix(&[LONG])?.first_chunk().map(|octets| i64::from_be_bytes(*octets))
    }

    /// A table.
    pub(crate) fn table(self) -> Option<RawTable> {
        self.0.strip_prefix(&[TABLE]).map(RawTable::of)
    }

    /// The values in an array; none if it is not one.
    pub(crate) fn elements(self) -> impl Iterator<Item = RawValue<'a>> {
        let mut rest = self.0.strip_prefix(&[ARRAY]).and_then(sized).unwrap_or_default();
        std::iter::from_fn(move || {
            let value = RawValue::first(rest)?;
            rest = &rest[value.0.len()..];
            Some(value)
        })
    }
}

/// Encodes a long string.
pub(crate) fn long_string(text: &[u8]) -> Vec<u8> {
    tagged(LONG_STRING, &with_length(text))
}

/// Encodes a long integer.
pub(crate) fn long(number: i64) -> Vec<u8> {
    tagged(LONG, &number.to_be_bytes())
}

/// Encodes a timestamp, in seconds since 1970.
pub(crate) fn timestamp(seconds: u64) -> Vec<u8> {
    tagged(TIMESTAMP, &seconds.to_be_bytes())
}

/// Encodes a table as a value.
pub(crate) fn table(entries: &RawTable) -> Vec<u8> {
    tagged(TABLE, &entries.encoded())
}

/// Encodes an array of encoded values.
pub(crate) fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    tagged(ARRAY, &with_length(&elements.concat()))
}

fn tagged(tag: u8, octets: &[u8]) -> Vec<u8> {
    [&[tag], octets].concat()
}

fn with_length(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u32).to_be_bytes(), octets].concat()
}

/// What a length prefix announces.
fn sized(octets: &[u8]) -> Option<&[u8]> {
    let length = u32::from_be_bytes(*octets.first_chunk()?) as usize;
    octets.get(4..4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::scan_table;

    #[test]
    fn what_is_not_set_stays_as_it_was() {
        let before = RawTable::default()
            .with("b", &[b'U', 0, 1])
            .with("x", &long(1))
            .with("a", &[b'L', 0, 0, 0, 0, 0, 0, 0, 9])
            .with("b", &[b't', 1])
            .with("x", &long(2));
        let mut after = before.clone();
        after.set("x", &long_string(b"new"));
        after.set("y", &timestamp(5));
        let expected = RawTable::default()
            .with("b", &[b'U', 0, 1])
            .with("x", &long_string(b"new"))
            .with("a", &[b'L', 0, 0, 0, 0, 0, 0, 0, 9])
            .with("b", &[b't', 1])
            .with("y", &timestamp(5));
        assert_eq!(after, expected);
        let encoded = after.encoded();
        assert_eq!(scan_table(&encoded), Ok(encoded.len()));
        assert_eq!(RawTable::of(&encoded), after);
        assert_eq!(
            before.without("b"),
            RawTable::default().with("x", &long(1)).with("a", &[b'L', 0, 0, 0, 0, 0, 0, 0, 9]).with("x", &long(2))
        );
    }

    #[test]
    fn nested_values_are_read_back() {
        let inner = RawTable::default().with("count", &long(7)).with("queue", &long_string(b"q"));
        let outer = RawTable::default().with("deaths", &array(&[table(&inner), long(3)]));
        let deaths: Vec<_> = outer.get("deaths").unwrap().elements().collect();
        let read = deaths[0].table().unwrap();
        assert_eq!((read.get("count").unwrap().long(), deaths[1].long()), (Some(7), Some(3)));
        assert_eq!(read.get("queue").unwrap().long_string(), Some(&b"q"[..]));
        assert_eq!((deaths[1].table(), deaths[1].elements().count(), outer.get("count")), (None, 0, None));
    }

    proptest::proptest! {
        #[test]
        fn no_table_panics(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let mut table = RawTable::of(&octets);
            table.set("x-death", &long(1));
            let _ = table.get("x-death").map(|value| value.elements().count());
        }
    }
}
