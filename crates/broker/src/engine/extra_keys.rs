//! The sender-selected distribution of a message (RabbitMQ's extension): routing keys in the headers `CC` and `BCC`
//! besides its own.
//!
//! Reads and takes out; does not know where keys lead.

use crate::exception::Exception;
use crate::frame::table_edit::RawTable;
use crate::frame::{Content, type_name};

/// Keys in both headers together. Each is looked up in every exchange on the way, so a frame full of them would hold
/// up everybody else; RabbitMQ has no such bound.
const EXTRA_KEYS_MAX: usize = 1024;
/// The header that recipients do not see.
const BLIND: &str = "BCC";

/// What the two headers ask for.
#[derive(Debug, Default)]
pub(super) struct ExtraKeys {
    pub(super) keys: Vec<Box<str>>,
    /// The headers that recipients see, if those are others.
    visible: Option<RawTable>,
}

impl ExtraKeys {
    /// Reads them from an encoded table of headers. Values of the arrays that are no long strings do not count, as in
    /// RabbitMQ.
    ///
    /// # Errors
    /// [`Exception::InvalidMessage`] when one of the headers is no array, or there are too many keys.
    pub(super) fn parse(headers: Option<&[u8]>) -> Result<Self, Exception> {
        let Some(headers) = headers.map(RawTable::of) else { return Ok(Self::default()) };
        let mut keys = Vec::new();
        for header in ["CC", BLIND] {
            let Some(value) = headers.get(header) else { continue };
            if value.tag() != b'A' {
                let reason = format!("{{unacceptable_type_in_header,\"{header}\",{}}}", type_name(value.tag()));
                return Err(Exception::InvalidMessage(reason));
            }
            let strings = value.elements().filter_map(|value| value.long_string()).map(String::from_utf8_lossy);
            keys.extend(strings.take(EXTRA_KEYS_MAX + 1).map(Box::from));
        }
        if keys.len() > EXTRA_KEYS_MAX {
            return Err(Exception::InvalidMessage(format!("more than {EXTRA_KEYS_MAX} keys in CC and BCC")));
        }
        let visible = headers.get(BLIND).is_some().then(|| headers.without(BLIND));
        Ok(Self { keys, visible })
    }

    /// The content as recipients see it, if that is another.
    pub(super) fn visible(&self, content: &Content) -> Option<Content> {
        self.visible.as_ref().map(|headers| content.with_headers(headers, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PropertyView;

    /// A header with an array of long strings.
    fn header(name: &str, keys: &[&str]) -> Vec<u8> {
        let mut values = Vec::new();
        for key in keys {
            values.extend_from_slice(&[b'S', 0, 0, 0, key.len() as u8]);
            values.extend_from_slice(key.as_bytes());
        }
        let length = (values.len() as u32).to_be_bytes();
        [&[name.len() as u8], name.as_bytes(), b"A", &length, &values].concat()
    }

    fn table(headers: &[&[u8]]) -> Vec<u8> {
        let body = headers.concat();
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn both_headers_give_keys_and_one_of_them_is_taken_out() {
        let (cc, bcc, other) = (header("CC", &["a", "b"]), header("BCC", &["c"]), &b"\x01xt\x01"[..]);
        let headers = table(&[&cc, &bcc, other]);
        let content = Content::new(&[&[0x20, 0], &headers[..]].concat(), b"body");
        let extra = ExtraKeys::parse(Some(&headers)).unwrap();
        assert_eq!(extra.keys, ["a".into(), "b".into(), "c".into()]);
        let visible = extra.visible(&content).unwrap();
        let left = PropertyView::parse(visible.properties()).unwrap().headers;
        assert_eq!((left, visible.body()), (Some(&table(&[&cc, other])[..]), &b"body"[..]));
        let without_blind = table(&[&cc, other]);
        assert!(ExtraKeys::parse(Some(&without_blind)).unwrap().visible(&content).is_none());
        assert!(ExtraKeys::parse(None).unwrap().keys.is_empty());
    }

    #[test]
    fn what_is_no_array_is_refused_and_what_is_no_string_does_not_count() {
        let refused = ExtraKeys::parse(Some(&table(&[b"\x03BCCS\x00\x00\x00\x01a"]))).unwrap_err();
        let text = "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"BCC\",longstr}";
        assert_eq!((refused.code(), refused.to_string().as_str()), (406, text));
        let mixed = table(&[b"\x02CCA\x00\x00\x00\x08t\x01S\x00\x00\x00\x01a"]);
        assert_eq!(ExtraKeys::parse(Some(&mixed)).unwrap().keys, ["a".into()]);
        let many = vec![""; EXTRA_KEYS_MAX + 1];
        assert!(ExtraKeys::parse(Some(&table(&[&header("CC", &many)]))).is_err());
        assert!(ExtraKeys::parse(Some(&table(&[&header("CC", &many[1..])]))).is_ok());
    }
}
