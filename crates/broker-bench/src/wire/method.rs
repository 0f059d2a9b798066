//! Method frames, argument by argument. Does not know which arguments a method has.

use super::{FRAME_END, FRAME_HEADER_BYTES};

/// A method frame being built.
#[derive(Debug, Clone)]
pub struct Method(Vec<u8>);

impl Method {
    /// A method of this class and number, as the specification's index gives them.
    #[must_use]
    pub fn new(channel: u16, class: u16, method: u16) -> Self {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&class.to_be_bytes());
        bytes.extend_from_slice(&method.to_be_bytes());
        Self(bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// An octet, or a group of bits, the first the lowest.
    #[must_use]
    pub fn octet(self, value: u8) -> Self {
        self.raw(&[value])
    }

    /// A short.
    #[must_use]
    pub fn short(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A long.
    #[must_use]
    pub fn long(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A long-long.
    #[must_use]
    pub fn long_long(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A short string; cut at its bound of 255 octets.
    #[must_use]
    pub fn short_string(self, text: &str) -> Self {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.octet(bytes.len() as u8).raw(bytes)
    }

    /// A long string.
    #[must_use]
    pub fn long_string(self, bytes: &[u8]) -> Self {
        self.long(bytes.len() as u32).raw(bytes)
    }

    /// A field table whose values are long strings.
    #[must_use]
    pub fn table(self, entries: &[(&str, &str)]) -> Self {
        let size: usize = entries.iter().map(|(key, value)| 1 + key.len() + 1 + 4 + value.len()).sum();
        let sized = self.long(size as u32);
        entries
            .iter()
            .fold(sized, |bytes, (key, value)| bytes.short_string(key).octet(b'S').long_string(value.as_bytes()))
    }

    /// The whole frame.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let size = (self.0.len() - FRAME_HEADER_BYTES) as u32;
        self.0[3..FRAME_HEADER_BYTES].copy_from_slice(&size.to_be_bytes());
        self.0.push(FRAME_END);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_states_its_size_and_ends() {
        let frame = Method::new(3, 50, 10).short(0).short_string("q").octet(2).table(&[("a", "bc")]).finish();
        let table = b"\x00\x00\x00\x09\x01aS\x00\x00\x00\x02bc";
        let mut expected = b"\x01\x00\x03\x00\x00\x00\x16\x00\x32\x00\x0a\x00\x00\x01q\x02".to_vec();
        expected.extend_from_slice(table);
        expected.push(FRAME_END);
        assert_eq!(frame, expected);
    }
}
