//! The AMQP frame: cutting the byte stream into frames (specification section 2.3.5).
//!
//! Knows the seven-byte header, the end octet and the negotiated size, and refuses a frame from its header alone,
//! before a single byte of its payload is buffered. It does not know what a method means, which channels are open
//! or where the bytes come from.

mod content;
mod encode;
mod method;
mod table;
pub(crate) mod table_edit;

pub(crate) use content::{Assembled, Content, ContentAssembler, PropertyView, peek_headers};
pub(crate) use encode::{ContentMethod, encode_method};
pub(crate) use encode::{encode_body, encode_confirm, encode_content_header, encode_content_method, encode_heartbeat};
pub(crate) use method::{decode_method, method_ids};
pub(crate) use table::{TableError, scan_table, type_name};

use bytes::{Buf, Bytes, BytesMut};

use crate::exception::Exception;

/// The octet that ends every frame.
pub(crate) const FRAME_END: u8 = 0xCE;
/// Octets in front of a payload: type, channel, payload size.
pub(crate) const FRAME_HEADER_BYTES: usize = 7;
/// Octets of a frame that are not payload: the header and the end octet. `frame_max` includes them.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + 1;
/// The smallest `frame_max` a peer may ask for (specification section 4.2.3: frame-min-size).
pub(crate) const FRAME_MIN_BYTES: u32 = 4096;
/// What a client opens with: `AMQP`, 0, and the version 0-9-1.
pub(crate) const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The four kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A method with its arguments.
    Method,
    /// The properties and the size of a content.
    Header,
    /// A piece of a content's body.
    Body,
    /// A sign of life.
    Heartbeat,
}

/// One frame; the payload is a slice of the read buffer, without header and end octet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) channel: u16,
    pub(crate) payload: Bytes,
}

/// Cuts frames out of a byte stream, however the stream was split.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    frame_max: usize,
}

impl FrameReader {
    /// A reader that refuses frames of more than `frame_max` octets, header and end octet included.
    pub(crate) fn new(frame_max: u32) -> Self {
        Self { buffer: BytesMut::new(), frame_max: frame_max as usize }
    }

    /// Changes the bound, once the peers have agreed on one.
    pub(crate) fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max as usize;
    }

    /// Where received bytes are appended.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes the protocol header off the front, as soon as its eight octets are here.
    pub(crate) fn next_protocol_header(&mut self) -> Option<[u8; 8]> {
        let header: [u8; 8] = self.buffer.get(..8)?.try_into().ok()?;
        self.buffer.advance(8);
        Some(header)
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// An unknown frame type, a frame above `frame_max`, or a wrong end octet: all of them end the connection.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Exception> {
        let Some(&[kind, channel_high, channel_low, s0, s1, s2, s3]) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let kind = match kind {
            1 => FrameKind::Method,
            2 => FrameKind::Header,
            3 => FrameKind::Body,
            8 => FrameKind::Heartbeat,
            other => return Err(Exception::UnknownFrameType(other)),
        };
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        if size > self.frame_max.saturating_sub(FRAME_OVERHEAD_BYTES) {
            return Err(Exception::FrameTooLarge { size: size as u64, max: self.frame_max as u64 });
        }
        if self.buffer.len() < size + FRAME_OVERHEAD_BYTES {
            return Ok(None);
        }
        if self.buffer[FRAME_HEADER_BYTES + size] != FRAME_END {
            return Err(Exception::BadFrameEnd);
        }
        self.buffer.advance(FRAME_HEADER_BYTES);
        let payload = self.buffer.split_to(size).freeze();
        self.buffer.advance(1);
        Ok(Some(Frame { kind, channel: u16::from_be_bytes([channel_high, channel_low]), payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::cut as feed;
    use proptest::prelude::*;

    fn frame_bytes(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(FRAME_END);
        bytes
    }

    #[test]
    fn an_oversized_frame_is_refused_from_its_header_alone() {
        let mut reader = FrameReader::new(4096);
        reader.buffer().extend_from_slice(&[3, 0, 1, 0, 0, 0x0F, 0xF9]);
        assert!(matches!(reader.next_frame(), Err(Exception::FrameTooLarge { size: 4089, max: 4096 })));
    }

    #[test]
    fn the_largest_allowed_frame_passes() {
        let bytes = frame_bytes(3, 1, &[7; 4088]);
        assert_eq!(feed(&bytes, &[100]).0.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_splits_give_the_same_frames(
            bytes in proptest::collection::vec(any::<u8>(), 0..2048),
            pieces in proptest::collection::vec(1usize..64, 1..8),
        ) {
            prop_assert_eq!(feed(&bytes, &pieces), feed(&bytes, &[usize::MAX >> 1]));
        }

        #[test]
        fn valid_frames_survive_any_splits(
            payloads in proptest::collection::vec((prop_oneof![Just(1u8), Just(2), Just(3), Just(8)], any::<u16>(),
                proptest::collection::vec(any::<u8>(), 0..600)), 1..8),
            pieces in proptest::collection::vec(1usize..64, 1..8),
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|(kind, channel, p)| frame_bytes(*kind, *channel, p)).collect();
            let (frames, error) = feed(&bytes, &pieces);
            prop_assert_eq!(error, None);
            prop_assert_eq!(frames.len(), payloads.len());
            for (frame, (_, channel, payload)) in frames.iter().zip(&payloads) {
                prop_assert_eq!((&frame.payload[..], frame.channel), (&payload[..], *channel));
            }
        }
    }
}
