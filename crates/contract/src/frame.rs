//! The binary form of a message, used where the transport has no place of its own for an identity:
//! WebSocket messages, UDP datagrams, and the bodies of mailbox answers. Also the simpler form in which
//! payloads are uploaded. It knows nothing of sockets and never trusts a length before checking it.
//!
//! One frame, all numbers big-endian:
//!
//! | bytes | field |
//! | --- | --- |
//! | 2 | magic `XT` |
//! | 1 | version, 1 |
//! | 1 | length of the sender's name, 1 to 32 |
//! | 8 | run |
//! | 8 | seq, from 1 |
//! | 8 | of, 0 = unknown |
//! | 8 | intended time, ns since the Unix epoch |
//! | 8 | sent time, ns since the Unix epoch |
//! | 4 | length of the payload, at most [`PAYLOAD_MAX`] |
//! | … | the sender's name (UTF-8), then the payload |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::identity::{Identity, Message, RunId, SENDER_NAME_MAX};

/// The media type of a sequence of frames.
pub const MESSAGES_MEDIA_TYPE: &str = "application/vnd.crosstalk.messages";
/// The media type of a sequence of payloads, each behind its length as a 4-byte big-endian number.
pub const PAYLOADS_MEDIA_TYPE: &str = "application/vnd.crosstalk.payloads";
/// Largest payload of one message, in bytes (4 MiB): a 1 MiB line fits with room to spare, and a node that
/// holds a hundred of them still fits a small machine.
pub const PAYLOAD_MAX: usize = 4 << 20;
/// Bytes of a frame before the sender's name.
pub const HEAD_LEN: usize = 48;
/// Most bytes that a frame adds to its payload.
pub const OVERHEAD_MAX: usize = HEAD_LEN + SENDER_NAME_MAX;

const MAGIC: u16 = u16::from_be_bytes(*b"XT");
const VERSION: u8 = 1;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first two bytes are not `XT`.
    #[error("not a Crosstalk frame: it begins with {0:#06x}, expected 0x5854 (\"XT\")")]
    Magic(u16),
    /// A version this program does not know.
    #[error("frame version {0}, expected {VERSION}")]
    Version(u8),
    /// The sender's name is empty, too long or not UTF-8.
    #[error("the sender's name must be 1 to {SENDER_NAME_MAX} bytes of UTF-8")]
    Sender,
    /// Messages are numbered from 1, runs below 2^48.
    #[error("message number 0 or a run id above 48 bits")]
    Identity,
    /// The payload is announced as larger than allowed.
    #[error("payload of {0} B, at most {PAYLOAD_MAX} B are allowed")]
    PayloadTooLarge(usize),
    /// A datagram or WebSocket message held something else than exactly one frame.
    #[error("{0} B do not hold exactly one frame")]
    NotExactlyOne(usize),
}

/// Appends one frame.
///
/// # Errors
/// When the name or the payload is out of bounds; nothing is appended then.
pub fn encode(message: &Message, out: &mut BytesMut) -> Result<(), FrameError> {
    let Identity { run, sender, seq, of, intended_ns, sent_ns } = &message.identity;
    let name_len = u8::try_from(sender.len()).map_err(|_| FrameError::Sender)?;
    if name_len == 0 || usize::from(name_len) > SENDER_NAME_MAX {
        return Err(FrameError::Sender);
    }
    let payload_len = checked_payload_len(message.payload.len())?;
    out.reserve(HEAD_LEN + sender.len() + message.payload.len());
    out.put_u16(MAGIC);
    out.put_u8(VERSION);
    out.put_u8(name_len);
    out.put_u64(run.get());
    out.put_u64(*seq);
    out.put_u64(*of);
    out.put_u64(*intended_ns);
    out.put_u64(*sent_ns);
    out.put_u32(payload_len);
    out.put_slice(sender.as_bytes());
    out.put_slice(&message.payload);
    Ok(())
}

/// One frame as bytes of its own.
///
/// # Errors
/// As [`encode`].
pub fn encoded(message: &Message) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::new();
    encode(message, &mut out)?;
    Ok(out.freeze())
}

/// Takes the next frame off the front of `input`; `None` when it is not there whole yet.
///
/// # Errors
/// When the bytes cannot be the beginning of a frame; the stream is beyond repair then.
pub fn decode(input: &mut Bytes) -> Result<Option<Message>, FrameError> {
    if input.len() < HEAD_LEN {
        return match input.len() {
            2.. => check_magic(input).map(|()| None),
            _ => Ok(None),
        };
    }
    check_magic(input)?;
    let mut head = &input[2..HEAD_LEN];
    let version = head.get_u8();
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let name_len = usize::from(head.get_u8());
    if name_len == 0 || name_len > SENDER_NAME_MAX {
        return Err(FrameError::Sender);
    }
    let (run, seq, of) = (head.get_u64(), head.get_u64(), head.get_u64());
    let (intended_ns, sent_ns) = (head.get_u64(), head.get_u64());
    let payload_len = head.get_u32() as usize;
    if seq == 0 || run >> RunId::BITS != 0 {
        return Err(FrameError::Identity);
    }
    checked_payload_len(payload_len)?;
    if input.len() < HEAD_LEN + name_len + payload_len {
        return Ok(None);
    }
    input.advance(HEAD_LEN);
    let name = input.split_to(name_len);
    let sender = std::str::from_utf8(&name).map_err(|_| FrameError::Sender)?.to_owned();
    let payload = input.split_to(payload_len);
    let identity = Identity { run: RunId::from_low_bits(run), sender, seq, of, intended_ns, sent_ns };
    Ok(Some(Message { identity, payload }))
}

/// Reads a datagram or WebSocket message, which must hold exactly one frame.
///
/// # Errors
/// When it holds anything else.
pub fn decode_one(mut input: Bytes) -> Result<Message, FrameError> {
    let len = input.len();
    match decode(&mut input)? {
        Some(message) if input.is_empty() => Ok(message),
        _ => Err(FrameError::NotExactlyOne(len)),
    }
}

/// Appends one payload in the upload form.
///
/// # Errors
/// When it is larger than [`PAYLOAD_MAX`].
pub fn encode_payload(payload: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
    out.put_u32(checked_payload_len(payload.len())?);
    out.put_slice(payload);
    Ok(())
}

/// Takes the next payload of the upload form off `input`; `None` when it is not there whole yet.
///
/// # Errors
/// When a payload is announced as larger than [`PAYLOAD_MAX`].
pub fn decode_payload(input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*head) as usize;
    checked_payload_len(len)?;
    if input.len() < 4 + len {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(len).freeze()))
}

fn check_magic(input: &[u8]) -> Result<(), FrameError> {
    let magic = u16::from_be_bytes([input[0], input[1]]);
    if magic == MAGIC { Ok(()) } else { Err(FrameError::Magic(magic)) }
}

fn checked_payload_len(len: usize) -> Result<u32, FrameError> {
    match u32::try_from(len) {
        Ok(short) if len <= PAYLOAD_MAX => Ok(short),
        _ => Err(FrameError::PayloadTooLarge(len)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_message() -> impl Strategy<Value = Message> {
        (any::<u64>(), "[a-z0-9-]{1,32}", 1u64.., any::<(u64, u64, u64)>(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(run, sender, seq, (of, intended_ns, sent_ns), payload)| Message {
                identity: Identity { run: RunId::from_low_bits(run), sender, seq, of, intended_ns, sent_ns },
                payload: payload.into(),
            })
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(messages in prop::collection::vec(any_message(), 0..8), cut in 1usize..200) {
            let mut wire = BytesMut::new();
            for message in &messages {
                encode(message, &mut wire).unwrap();
            }
            let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
            for chunk in wire.chunks(cut) {
                buffer.extend_from_slice(chunk);
                let mut view = buffer.split().freeze();
                while let Some(message) = decode(&mut view).unwrap() {
                    got.push(message);
                }
                buffer = BytesMut::from(&view[..]);
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_one(Bytes::from(bytes.clone()));
            let mut upload = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode_payload(&mut upload) {}
        }

        #[test]
        fn damaged_frames_never_panic(message in any_message(), at in any::<prop::sample::Index>(), to: u8) {
            let mut bytes = encoded(&message).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode_one(bytes.into());
        }
    }

    #[test]
    fn an_announced_payload_over_the_limit_is_refused_before_it_arrives() {
        let mut upload = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        assert_eq!(decode_payload(&mut upload), Err(FrameError::PayloadTooLarge(u32::MAX as usize)));
    }
}
