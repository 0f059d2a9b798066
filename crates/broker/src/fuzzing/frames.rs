//! Streams of frames for fuzzing: cut by the frame reader, made whole after a mutation, and the handshake before them.
//!
//! Does not know which methods there are, apart from those of the handshake.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod, Open, StartOk, TuneOk};
use amq_protocol::types::FieldTable;
use bytes::BytesMut;

use crate::frame::{
    FRAME_END, FRAME_HEADER_BYTES, FRAME_MIN_BYTES, Frame, FrameReader, PROTOCOL_HEADER, encode_method,
};

/// What kind of frame a stream may go on with.
const KINDS: [u8; 4] = [1, 2, 3, 8];
const HEADER_KIND: u8 = 2;
const BODY_KIND: u8 = 3;
/// Where a content header says how long the body is.
const BODY_SIZE_AT: std::ops::Range<usize> = FRAME_HEADER_BYTES + 4..FRAME_HEADER_BYTES + 12;

/// Feeds a stream in pieces of the given sizes, again and again, and returns all frames and how it ended.
pub(crate) fn cut(stream: &[u8], pieces: &[usize]) -> (Vec<Frame>, Option<String>) {
    let mut reader = FrameReader::new(FRAME_MIN_BYTES);
    let (mut frames, mut at, mut turn) = (Vec::new(), 0, 0);
    while at < stream.len() {
        let end = (at + pieces[turn % pieces.len()]).min(stream.len());
        reader.buffer().extend_from_slice(&stream[at..end]);
        (at, turn) = (end, turn + 1);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}

/// The same frames with their sizes put right, and the sizes of bodies in the headers before them: a mutation nearly
/// always changes a length, and only the reader would be met. A frame ends where an end octet is followed by a kind.
pub(super) fn repaired(stream: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(stream.len() + 1);
    let mut rest = stream;
    // Where the last content header stands in `out`, and how long its body is so far.
    let mut content: Option<(usize, u64)> = None;
    while rest.len() >= FRAME_HEADER_BYTES {
        let ends = |at: &usize| rest[*at] == FRAME_END && rest.get(at + 1).is_none_or(|next| KINDS.contains(next));
        let end = (FRAME_HEADER_BYTES..rest.len()).find(ends).unwrap_or(rest.len());
        let (frame, after) = rest.split_at(end);
        let size = (frame.len() - FRAME_HEADER_BYTES) as u32;
        let at = out.len();
        out.extend_from_slice(&frame[..3]);
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&frame[FRAME_HEADER_BYTES..]);
        out.push(FRAME_END);
        content = match (frame[0], content) {
            (HEADER_KIND, _) if frame.len() >= BODY_SIZE_AT.end => Some((at, 0)),
            (BODY_KIND, Some((header, length))) => Some((header, length + u64::from(size))),
            _ => None,
        };
        if let Some((header, length)) = content {
            out[header..][BODY_SIZE_AT].copy_from_slice(&length.to_be_bytes());
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out
}

/// What a client sends until it may do anything.
pub(super) fn handshake() -> Vec<u8> {
    let mut out = BytesMut::from(&PROTOCOL_HEADER[..]);
    let methods = [
        AMQPMethod::StartOk(StartOk {
            client_properties: FieldTable::default(),
            mechanism: "PLAIN".into(),
            response: "\0guest\0guest".into(),
            locale: "en_US".into(),
        }),
        AMQPMethod::TuneOk(TuneOk { channel_max: 8, frame_max: FRAME_MIN_BYTES, heartbeat: 0 }),
        AMQPMethod::Open(Open { virtual_host: "/".into() }),
    ];
    for method in methods {
        encode_method(&mut out, 0, &AMQPClass::Connection(method));
    }
    out.to_vec()
}
