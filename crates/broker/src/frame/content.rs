//! Contents: the header frame with its properties, and putting the body together again (section 4.2.6).
//!
//! Properties and body are kept as the bytes that arrived: encoding a table again would lose the order, duplicate
//! keys and some type tags. Only what the broker acts upon is looked at, in place. Does not know what the headers mean
//! or where a content goes.

use amq_protocol::protocol::basic::Publish;
use bytes::Bytes;

use super::table::scan_table;
use super::table_edit::RawTable;
use crate::exception::Exception;

/// The class that carries contents.
const BASIC_CLASS: u16 = 60;
/// Class, weight and body size, in front of the property flags.
const CONTENT_HEADER_FIXED_BYTES: usize = 12;
/// How many times as large as allowed a body may be for its publisher to be told only at its end. A client that writes
/// before it reads gets its say this way, as with RabbitMQ; what is larger still is not worth its time on the line.
const PATIENCE: u64 = 4;
/// How much is reserved for a body on the word of its header; a larger body grows as it really arrives.
const BODY_RESERVE_BYTES: usize = 128 * 1024;

/// Properties (flags included) and body of one message, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    octets: Bytes,
    body_at: usize,
}

impl Content {
    /// A content of raw `properties`, which begin with the property flags, and a `body`.
    #[cfg(test)]
    pub(crate) fn new(properties: &[u8], body: &[u8]) -> Self {
        Self { octets: [properties, body].concat().into(), body_at: properties.len() }
    }

    /// A content of `octets`: raw properties, which begin with the property flags, and from `body_at` on the body; all
    /// of them are properties when `body_at` lies beyond their end.
    pub(crate) fn from_octets(octets: Bytes, body_at: usize) -> Self {
        let body_at = body_at.min(octets.len());
        Self { octets, body_at }
    }

    /// The property flags and the property list.
    pub(crate) fn properties(&self) -> &[u8] {
        &self.octets[..self.body_at]
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.octets[self.body_at..]
    }

    /// The same content with other headers, and without its `expiration` if that is asked for.
    pub(crate) fn with_headers(&self, headers: &RawTable, drop_expiration: bool) -> Self {
        let encoded = headers.encoded();
        self.with_values(|values| {
            values[HEADERS] = &encoded;
            if drop_expiration {
                values[EXPIRATION] = &[];
            }
        })
    }

    /// The same content with another `reply-to`, of which 255 octets count.
    pub(crate) fn with_reply_to(&self, address: &str) -> Self {
        let address = &address.as_bytes()[..address.len().min(usize::from(u8::MAX))];
        let encoded = [&[address.len() as u8], address].concat();
        self.with_values(|values| values[REPLY_TO] = &encoded)
    }

    /// The same content after a change to its encoded properties; those that are not there are empty.
    fn with_values<'a>(&'a self, change: impl FnOnce(&mut [&'a [u8]; PROPERTIES.len()])) -> Self {
        let mut values: [&[u8]; PROPERTIES.len()] = [&[]; PROPERTIES.len()];
        let _ = walk(self.properties(), |index, value| values[index] = value);
        change(&mut values);
        let present = values.iter().enumerate().filter(|(_, value)| !value.is_empty());
        let flags = present.fold(0u16, |flags, (index, _)| flags | 0x8000 >> index);
        let properties = [&flags.to_be_bytes()[..], &values.concat()].concat();
        let body_at = properties.len();
        Self { octets: [&properties, self.body()].concat().into(), body_at }
    }

    /// Octets of both.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }
}

/// A parsed content header frame.
#[derive(Debug)]
pub(crate) struct ContentHeader {
    pub(crate) body_size: u64,
    pub(crate) properties: Bytes,
}

impl ContentHeader {
    /// Parses the payload of a header frame and checks that the property list is well formed.
    ///
    /// # Errors
    /// [`Exception::BadContentHeader`] or [`Exception::BadTable`]; both end the connection.
    pub(crate) fn parse(payload: &Bytes) -> Result<Self, Exception> {
        let fixed: &[u8; CONTENT_HEADER_FIXED_BYTES] = payload.first_chunk().ok_or(Exception::BadContentHeader)?;
        let [c0, c1, _, _, size @ ..] = *fixed;
        if u16::from_be_bytes([c0, c1]) != BASIC_CLASS {
            return Err(Exception::BadContentHeader);
        }
        let properties = payload.slice(CONTENT_HEADER_FIXED_BYTES..);
        let view = PropertyView::parse(&properties).ok_or(Exception::BadContentHeader)?;
        if let Some(headers) = view.headers {
            scan_table(headers).map_err(Exception::BadTable)?;
        }
        Ok(Self { body_size: u64::from_be_bytes(size), properties })
    }
}

/// What the broker looks at in a property list.
#[derive(Debug, Default)]
pub(crate) struct PropertyView<'a> {
    /// The encoded `headers` table, its length prefix included.
    pub(crate) headers: Option<&'a [u8]>,
    pub(crate) delivery_mode: Option<u8>,
    pub(crate) priority: Option<u8>,
    pub(crate) reply_to: Option<&'a [u8]>,
    pub(crate) expiration: Option<&'a [u8]>,
    pub(crate) user_id: Option<&'a [u8]>,
}

/// How the properties follow each other, from the highest flag bit down (section 4.2.6.1 and the class's definition).
#[derive(Clone, Copy)]
enum PropertyType {
    Short,
    Table,
    Octet,
    Timestamp,
}

/// The places of some properties in the list.
const HEADERS: usize = 2;
const REPLY_TO: usize = 6;
const EXPIRATION: usize = 7;

const PROPERTIES: [PropertyType; 14] = {
    use PropertyType::{Octet, Short, Table, Timestamp};
    // content-type, content-encoding, headers, delivery-mode, priority, correlation-id, reply-to, expiration,
    // message-id, timestamp, type, user-id, app-id, cluster-id
    [Short, Short, Table, Octet, Octet, Short, Short, Short, Short, Timestamp, Short, Short, Short, Short]
};

impl<'a> PropertyView<'a> {
    /// Walks over the whole list; `None` when it does not end exactly where the bytes end.
    pub(crate) fn parse(octets: &'a [u8]) -> Option<Self> {
        let mut view = Self::default();
        walk(octets, |index, value| match index {
            HEADERS => view.headers = Some(value),
            3 => view.delivery_mode = value.first().copied(),
            4 => view.priority = value.first().copied(),
            REPLY_TO => view.reply_to = value.get(1..),
            EXPIRATION => view.expiration = value.get(1..),
            11 => view.user_id = value.get(1..),
            _ => {}
        })?;
        Some(view)
    }
}

/// Calls `found` with the index of each property that is there and its encoded value, which is never empty. `None`
/// when the list does not end exactly where the bytes end.
fn walk<'a>(octets: &'a [u8], mut found: impl FnMut(usize, &'a [u8])) -> Option<()> {
    let flags = u16::from_be_bytes(*octets.first_chunk()?);
    // The two lowest bits announce more flags or properties than the class has.
    if flags & 0b11 != 0 {
        return None;
    }
    let mut rest = &octets[2..];
    for (index, property) in PROPERTIES.into_iter().enumerate() {
        if flags & (0x8000 >> index) == 0 {
            continue;
        }
        let size = match property {
            PropertyType::Octet => 1,
            PropertyType::Timestamp => 8,
            PropertyType::Short => 1 + *rest.first()? as usize,
            PropertyType::Table => 4 + u32::from_be_bytes(*rest.first_chunk()?) as usize,
        };
        let (value, after) = rest.split_at_checked(size)?;
        found(index, value);
        rest = after;
    }
    rest.is_empty().then_some(())
}

/// The encoded `headers` table in raw properties, its length prefix included; `None` when there is none.
pub(crate) fn peek_headers(properties: &[u8]) -> Option<&[u8]> {
    PropertyView::parse(properties)?.headers
}

/// One channel's content on its way in.
#[derive(Debug)]
pub(crate) enum ContentAssembler {
    /// `basic.publish` came, the header has not.
    Publish(Publish),
    /// The header came, some of the body has not.
    Body {
        /// The method the content belongs to.
        publish: Publish,
        /// Properties, then what came of the body.
        octets: Vec<u8>,
        /// Where the body begins in `octets`.
        body_at: usize,
        /// Octets of body that are still to come.
        missing: u64,
    },
    /// The content was refused.
    Discard {
        /// Octets of body that are still to come.
        missing: u64,
        /// The reason, until the channel is closed with it.
        untold: Option<Exception>,
    },
}

/// Octets held for a method whose content is still to come, its names included.
fn held_by(publish: &Publish) -> usize {
    size_of::<ContentAssembler>() + publish.exchange.as_str().len() + publish.routing_key.as_str().len()
}

/// How far a content is after a frame.
#[derive(Debug)]
pub(crate) enum Assembled {
    /// More frames are needed.
    Pending(ContentAssembler),
    /// That was all.
    Whole(Publish, Content),
    /// That was all, of a refused content. The channel is to be closed with the exception, if there still is one.
    Discarded(Option<Exception>),
    /// The header announces far more than the broker takes: the channel is to be closed with the exception at once.
    Refused(ContentAssembler, Exception),
}

impl ContentAssembler {
    /// Octets held for this content.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::Body { publish, octets, .. } => held_by(publish) + octets.len(),
            Self::Publish(publish) => held_by(publish),
            Self::Discard { .. } => size_of::<Self>(),
        }
    }

    /// Takes the content header.
    ///
    /// # Errors
    /// [`Exception::UnexpectedFrame`] when a header came already, or the header's own faults.
    pub(crate) fn header(self, payload: &Bytes, message_max: u64) -> Result<Assembled, Exception> {
        let Self::Publish(publish) = self else {
            return Err(Exception::UnexpectedFrame("expected content body, got content header frame instead"));
        };
        let header = ContentHeader::parse(payload)?;
        if header.body_size > message_max {
            let refusal = Exception::MessageTooLarge { size: header.body_size, max: message_max };
            let missing = header.body_size;
            return Ok(if missing <= message_max.saturating_mul(PATIENCE) {
                Assembled::Pending(Self::Discard { missing, untold: Some(refusal) })
            } else {
                Assembled::Refused(Self::Discard { missing, untold: None }, refusal)
            });
        }
        let body_at = header.properties.len();
        let reserve = BODY_RESERVE_BYTES.min(header.body_size as usize);
        let mut octets = Vec::with_capacity(body_at + reserve);
        octets.extend_from_slice(&header.properties);
        Ok(Self::Body { publish, octets, body_at, missing: header.body_size }.settle())
    }

    /// Takes a piece of the body.
    ///
    /// # Errors
    /// [`Exception::UnexpectedFrame`] when no header came yet or the piece exceeds the announced size.
    pub(crate) fn body(self, payload: &Bytes) -> Result<Assembled, Exception> {
        const TOO_MUCH: Exception = Exception::UnexpectedFrame("content body exceeds the size in its header");
        let size = payload.len() as u64;
        let next = match self {
            Self::Publish(_) => {
                let text = "expected content header for class 60, got non content header frame instead";
                return Err(Exception::UnexpectedFrame(text));
            }
            Self::Body { publish, mut octets, body_at, missing } => {
                let missing = missing.checked_sub(size).ok_or(TOO_MUCH)?;
                octets.extend_from_slice(payload);
                Self::Body { publish, octets, body_at, missing }
            }
            Self::Discard { missing, untold } => {
                Self::Discard { missing: missing.checked_sub(size).ok_or(TOO_MUCH)?, untold }
            }
        };
        Ok(next.settle())
    }

    fn settle(self) -> Assembled {
        match self {
            Self::Body { publish, octets, body_at, missing: 0 } => {
                Assembled::Whole(publish, Content { octets: octets.into(), body_at })
            }
            Self::Discard { missing: 0, untold } => Assembled::Discarded(untold),
            pending => Assembled::Pending(pending),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(body_size: u64, properties: &[u8]) -> Bytes {
        let mut bytes = vec![0, 60, 0, 0];
        bytes.extend_from_slice(&body_size.to_be_bytes());
        bytes.extend_from_slice(properties);
        bytes.into()
    }

    fn publish() -> Publish {
        Publish { exchange: "".into(), routing_key: "q".into(), mandatory: false, immediate: false }
    }

    #[test]
    fn properties_pass_unchanged() {
        let properties = [0x30, 0, 0, 0, 0, 4, 1, b'k', b't', 1, 2];
        let header = ContentAssembler::Publish(publish()).header(&header(2, &properties), 10).unwrap();
        let Assembled::Pending(assembler) = header else { panic!("{header:?}") };
        let Assembled::Pending(assembler) = assembler.body(&Bytes::from_static(b"a")).unwrap() else { panic!() };
        let Assembled::Whole(_, content) = assembler.body(&Bytes::from_static(b"b")).unwrap() else { panic!() };
        assert_eq!((content.properties(), content.body()), (&properties[..], &b"ab"[..]));
        assert_eq!(peek_headers(content.properties()), Some(&properties[2..10]));
    }

    #[test]
    fn other_headers_leave_all_else_alone() {
        // content-type, priority, expiration and message-id; no headers yet.
        let properties = [0x89, 0x80, 1, b't', 5, 2, b'1', b'0', 1, b'm'];
        let headers = RawTable::default().with("k", &[b't', 1]);
        let content = Content::new(&properties, b"body");
        let kept = content.with_headers(&headers, false);
        let (before, after) = (&[0xA9, 0x80, 1, b't', 0, 0, 0, 4, 1, b'k', b't', 1, 5], &[1, b'm']);
        assert_eq!(kept.properties(), [&before[..], &[2, b'1', b'0'], after].concat());
        let dropped = kept.with_headers(&headers, true);
        assert_eq!((dropped.properties()[0], &dropped.properties()[13..]), (0xA8, &after[..]));
        assert_eq!((kept.body(), dropped.body()), (&b"body"[..], &b"body"[..]));
    }

    #[test]
    fn an_empty_body_is_whole_with_its_header() {
        let whole = ContentAssembler::Publish(publish()).header(&header(0, &[0, 0]), 10).unwrap();
        assert!(matches!(whole, Assembled::Whole(..)));
    }

    #[test]
    fn a_body_beyond_its_header_is_unexpected() {
        let Ok(Assembled::Pending(body)) = ContentAssembler::Publish(publish()).header(&header(1, &[0, 0]), 10) else {
            panic!()
        };
        assert!(matches!(body.body(&Bytes::from_static(b"ab")), Err(Exception::UnexpectedFrame(_))));
    }

    #[test]
    fn a_message_above_the_bound_is_discarded_and_refused_at_its_end() {
        let refused = ContentAssembler::Publish(publish()).header(&header(11, &[0, 0]), 10).unwrap();
        let Assembled::Pending(rest) = refused else { panic!("{refused:?}") };
        assert_eq!(rest.held_bytes(), size_of::<ContentAssembler>());
        let end = rest.body(&Bytes::from_static(b"0123456789a")).unwrap();
        assert!(matches!(end, Assembled::Discarded(Some(Exception::MessageTooLarge { size: 11, max: 10 }))), "{end:?}");
    }

    #[test]
    fn a_message_far_above_the_bound_is_refused_at_once() {
        let refused = ContentAssembler::Publish(publish()).header(&header(41, &[0, 0]), 10).unwrap();
        let Assembled::Refused(rest, Exception::MessageTooLarge { size: 41, max: 10 }) = refused else { panic!() };
        assert!(matches!(rest.body(&Bytes::from_static(&[7; 41])), Ok(Assembled::Discarded(None))));
    }

    #[test]
    fn a_property_list_must_end_where_the_frame_ends() {
        assert!(ContentHeader::parse(&header(0, &[0x80, 0, 5, b'a'])).is_err());
        assert!(ContentHeader::parse(&header(0, &[0, 0, 1])).is_err());
        assert!(ContentHeader::parse(&header(0, &[0, 1])).is_err());
        assert!(ContentHeader::parse(&Bytes::from_static(&[0, 60])).is_err());
    }

    proptest! {
        #[test]
        fn no_header_panics(properties in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ContentHeader::parse(&header(0, &properties));
        }
    }
}
