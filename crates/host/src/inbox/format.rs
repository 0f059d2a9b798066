//! The bytes of an inbox file. It knows neither the file system nor what records mean together, and never
//! trusts a length before checking it. All numbers are big-endian.
//!
//! A header: magic `XTINBOX`, version (1 byte), run (8), `of` (8), length of the paradigm's name (1), the
//! name, and the CRC32 (4) of all that. Then records:
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | length of what follows the checksum |
//! | 4 | CRC32 of what follows |
//! | 1 | kind: 1 received, 2 another copy, 3 processed |
//! | 1 | length of the receiver's name |
//! | 8 | when, ns since the Unix epoch |
//! | … | the receiver's name |
//! | … | received: the message as a frame of the contract; else 8 bytes: the message's number |

use std::io::{self, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crosstalk_contract::{
    RunId,
    frame::{self, FrameError, OVERHEAD_MAX, PAYLOAD_MAX},
    identity::Message,
};

use super::{PARADIGM_NAME_MAX, RECEIVER_NAME_MAX};

const MAGIC_AND_VERSION: [u8; 8] = *b"XTINBOX\x01";
const HEADER_FIXED_LEN: usize = 25;
/// Length and checksum.
const PREFIX_LEN: usize = 8;
/// Kind, length of the name, and time.
const BODY_FIXED_LEN: usize = 10;
const SEQ_LEN: usize = 8;
/// Longest that a record's body can be; what announces more is no record.
const BODY_LEN_MAX: usize = BODY_FIXED_LEN + RECEIVER_NAME_MAX + OVERHEAD_MAX + PAYLOAD_MAX;

const RECEIVED: u8 = 1;
const COPY: u8 = 2;
const PROCESSED: u8 = 3;

/// What a file says about itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) run: RunId,
    pub(super) paradigm: String,
    /// What the run's first message said.
    pub(super) of: u64,
}

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) receiver: String,
    pub(super) at_ns: u64,
    pub(super) event: Event,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Received(Message),
    Copy { seq: u64 },
    Processed { seq: u64 },
}

/// What the bytes at some place of a file are.
#[derive(Debug)]
pub(super) enum Next {
    Record {
        record: Record,
        len: u64,
    },
    End,
    /// The bytes end before the record does, as a write leaves it that was cut short.
    Cut,
    /// All bytes are there, and are not what was written; `len` is how many, if that much is certain.
    Wrong {
        len: Option<u64>,
    },
}

/// A header as it is written; the name must be within its bound.
pub(super) fn header(run: RunId, paradigm: &str, of: u64) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER_FIXED_LEN + paradigm.len() + 4);
    out.put_slice(&MAGIC_AND_VERSION);
    out.put_u64(run.get());
    out.put_u64(of);
    out.put_u8(short(paradigm.len()));
    out.put_slice(paradigm.as_bytes());
    out.put_u32(crc32fast::hash(&out));
    out
}

/// A record of a first copy as it is written; the receiver's name must be within its bound.
pub(super) fn received(receiver: &str, at_ns: u64, message: &Message) -> Result<BytesMut, FrameError> {
    // A frame with number 0 can be written but not read.
    if message.identity.seq == 0 {
        return Err(FrameError::Identity);
    }
    let mut out = begun(RECEIVED, receiver, at_ns, OVERHEAD_MAX + message.payload.len());
    frame::encode(message, &mut out)?;
    Ok(sealed(out))
}

/// A record of a further copy as it is written.
pub(super) fn copy(receiver: &str, at_ns: u64, seq: u64) -> BytesMut {
    numbered(COPY, receiver, at_ns, seq)
}

/// A record of the end of the work as it is written.
pub(super) fn processed(receiver: &str, at_ns: u64, seq: u64) -> BytesMut {
    numbered(PROCESSED, receiver, at_ns, seq)
}

/// How long the record of the end of the work is.
pub(super) const fn processed_len(receiver: &str) -> u64 {
    (PREFIX_LEN + BODY_FIXED_LEN + receiver.len() + SEQ_LEN) as u64
}

fn numbered(kind: u8, receiver: &str, at_ns: u64, seq: u64) -> BytesMut {
    let mut out = begun(kind, receiver, at_ns, SEQ_LEN);
    out.put_u64(seq);
    sealed(out)
}

fn begun(kind: u8, receiver: &str, at_ns: u64, rest: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX_LEN + BODY_FIXED_LEN + receiver.len() + rest);
    out.put_bytes(0, PREFIX_LEN);
    out.put_u8(kind);
    out.put_u8(short(receiver.len()));
    out.put_u64(at_ns);
    out.put_slice(receiver.as_bytes());
    out
}

/// Fills in the length and the checksum, which are known last and stand first.
fn sealed(mut record: BytesMut) -> BytesMut {
    let (mut prefix, body) = record.split_at_mut(PREFIX_LEN);
    prefix.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    prefix.put_u32(crc32fast::hash(body));
    record
}

/// Names are checked when a message comes in, long before; what is cut here would not pass as a record.
fn short(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

/// Reads a header and its length; `None` when the bytes are none.
pub(super) fn read_header(input: &mut impl Read) -> io::Result<Option<(Header, u64)>> {
    let mut bytes = vec![0; HEADER_FIXED_LEN];
    if filled(input, &mut bytes)? < HEADER_FIXED_LEN || !bytes.starts_with(&MAGIC_AND_VERSION) {
        return Ok(None);
    }
    let name_len = usize::from(bytes[HEADER_FIXED_LEN - 1]);
    bytes.resize(HEADER_FIXED_LEN + name_len + 4, 0);
    let missing = bytes.len() - HEADER_FIXED_LEN - filled(input, &mut bytes[HEADER_FIXED_LEN..])?;
    if missing > 0 || name_len == 0 || name_len > PARADIGM_NAME_MAX {
        return Ok(None);
    }
    let len = bytes.len() as u64;
    let (content, mut checksum) = bytes.split_at(HEADER_FIXED_LEN + name_len);
    let mut numbers = &content[MAGIC_AND_VERSION.len()..];
    let (run, of) = (numbers.get_u64(), numbers.get_u64());
    let name = std::str::from_utf8(&content[HEADER_FIXED_LEN..]);
    match name {
        Ok(name) if checksum.get_u32() == crc32fast::hash(content) && run >> RunId::BITS == 0 => {
            Ok(Some((Header { run: RunId::from_low_bits(run), paradigm: name.to_owned(), of }, len)))
        }
        _ => Ok(None),
    }
}

/// Reads the next record.
pub(super) fn read_record(input: &mut impl Read) -> io::Result<Next> {
    let mut prefix = [0; PREFIX_LEN];
    match filled(input, &mut prefix)? {
        0 => return Ok(Next::End),
        PREFIX_LEN => {}
        _ => return Ok(Next::Cut),
    }
    let mut prefix = &prefix[..];
    let (len, checksum) = (prefix.get_u32() as usize, prefix.get_u32());
    if !(BODY_FIXED_LEN..=BODY_LEN_MAX).contains(&len) {
        return Ok(Next::Wrong { len: None });
    }
    let mut body = vec![0; len];
    if filled(input, &mut body)? < len {
        return Ok(Next::Cut);
    }
    let whole = (PREFIX_LEN + len) as u64;
    let sound = crc32fast::hash(&body) == checksum;
    Ok(match sound.then(|| decode(body.into())).flatten() {
        Some(record) => Next::Record { record, len: whole },
        None => Next::Wrong { len: Some(whole) },
    })
}

fn decode(mut body: Bytes) -> Option<Record> {
    let kind = body.try_get_u8().ok()?;
    let name_len = usize::from(body.try_get_u8().ok()?);
    let at_ns = body.try_get_u64().ok()?;
    if name_len == 0 || name_len > RECEIVER_NAME_MAX || name_len > body.len() {
        return None;
    }
    let receiver = std::str::from_utf8(&body.split_to(name_len)).ok()?.to_owned();
    let event = match kind {
        RECEIVED => Event::Received(frame::decode_one(body).ok()?),
        COPY | PROCESSED if body.len() != SEQ_LEN => return None,
        COPY => Event::Copy { seq: body.get_u64() },
        PROCESSED => Event::Processed { seq: body.get_u64() },
        _ => return None,
    };
    Some(Record { receiver, at_ns, event })
}

/// Fills `out` as far as the input goes, and says how far that was.
fn filled(input: &mut impl Read, mut out: &mut [u8]) -> io::Result<usize> {
    let wanted = out.len();
    while !out.is_empty() {
        match input.read(out) {
            Ok(0) => break,
            Ok(n) => out = &mut out[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - out.len())
}
