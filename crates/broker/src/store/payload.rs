//! What stands in the records about messages, to octets and back. The octets are described in [`super`].
//!
//! Does not know checksums, batches or files.

use bytes::{Buf, BufMut, Bytes};

use super::format::COUNT_MAX;
use crate::frame::Content;
use crate::identity::{MessageId, QueueId, Timestamp};
use crate::message::{Message, Resident};

/// Set in a message's flags when it asked to survive a restart.
const PERSISTENT: u8 = 1;
/// Set when it is a dead letter.
const DEAD_LETTER: u8 = 2;

/// What recovery needs of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageFacts {
    pub(super) id: MessageId,
    /// Octets of properties and body.
    pub(super) content: usize,
    /// Octets of the body.
    pub(super) body: usize,
    pub(super) published_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) priority: u8,
}

pub(super) fn encode_message(out: &mut Vec<u8>, id: MessageId, queues: &[QueueId], message: &Message) {
    put_head(out, id, queues);
    out.put_u64(message.published_at.0);
    // One more than the time, so that 0 can say that there is none.
    out.put_u64(message.expires_at.map_or(0, |at| at.0.saturating_add(1)));
    out.put_u8(message.priority);
    let persistent = if message.persistent { PERSISTENT } else { 0 };
    out.put_u8(persistent | if message.dead_letter { DEAD_LETTER } else { 0 });
    put_text(out, &message.exchange);
    put_text(out, &message.routing_key);
    out.put_u32(message.content.properties().len() as u32);
    out.put_slice(message.content.properties());
    out.put_slice(message.content.body());
}

/// Writes a message once more that was read as `payload`, for the queues that still hold it.
pub(super) fn encode_moved(out: &mut Vec<u8>, id: MessageId, queues: &[QueueId], payload: &[u8]) -> Option<()> {
    let mut rest = payload;
    skip_head(&mut rest)?;
    put_head(out, id, queues);
    out.put_slice(rest);
    Some(())
}

fn put_head(out: &mut Vec<u8>, id: MessageId, queues: &[QueueId]) {
    out.put_u64(id.0);
    out.put_u32(queues.len() as u32);
    for queue in queues {
        out.put_u64(queue.0);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // AMQP's short strings have at most 255 octets (section 4.2.5.3); nothing longer gets here.
    let cut = text.floor_char_boundary(usize::from(u16::MAX));
    out.put_u16(cut as u16);
    out.put_slice(&text.as_bytes()[..cut]);
}

/// The message a record is about, without looking further.
pub(super) fn peek_id(payload: &[u8]) -> Option<MessageId> {
    Some(MessageId(u64::from_be_bytes(*payload.first_chunk()?)))
}

fn skip_head(rest: &mut &[u8]) -> Option<()> {
    rest.try_get_u64().ok()?;
    let queues = rest.try_get_u32().ok()? as usize;
    *rest = rest.get(queues.checked_mul(8)?..)?;
    Some(())
}

/// What recovery needs of a message; `queues` is filled with its holders.
pub(super) fn decode_facts(payload: &[u8], queues: &mut Vec<QueueId>) -> Option<MessageFacts> {
    let mut rest = payload;
    let id = MessageId(rest.try_get_u64().ok().filter(|id| *id <= COUNT_MAX)?);
    queues.clear();
    for _ in 0..rest.try_get_u32().ok()? {
        queues.push(QueueId(rest.try_get_u64().ok()?));
    }
    let published_at = Timestamp(rest.try_get_u64().ok()?);
    let expires_at = rest.try_get_u64().ok()?.checked_sub(1).map(Timestamp);
    let priority = rest.try_get_u8().ok()?;
    rest.try_get_u8().ok()?;
    for _ in 0..2 {
        let text = usize::from(rest.try_get_u16().ok()?);
        rest = rest.get(text..)?;
    }
    let properties = rest.try_get_u32().ok()? as usize;
    let content = rest.len();
    let body = content.checked_sub(properties)?;
    Some(MessageFacts { id, content, body, published_at, expires_at, priority })
}

/// The whole message, counted by `resident`.
pub(super) fn decode_message(payload: &[u8], resident: impl FnOnce(&Content) -> Resident) -> Option<Message> {
    let mut rest = payload;
    skip_head(&mut rest)?;
    let published_at = Timestamp(rest.try_get_u64().ok()?);
    let expires_at = rest.try_get_u64().ok()?.checked_sub(1).map(Timestamp);
    let priority = rest.try_get_u8().ok()?;
    let flags = rest.try_get_u8().ok()?;
    let (persistent, dead_letter) = (flags & PERSISTENT != 0, flags & DEAD_LETTER != 0);
    let exchange = take_text(&mut rest)?.into();
    let routing_key = take_text(&mut rest)?.into();
    let properties = rest.try_get_u32().ok()? as usize;
    if properties > rest.len() {
        return None;
    }
    let content = Content::from_octets(Bytes::copy_from_slice(rest), properties);
    let resident = resident(&content);
    Some(Message {
        exchange,
        routing_key,
        content,
        published_at,
        expires_at,
        priority,
        persistent,
        dead_letter,
        resident,
    })
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(rest.try_get_u16().ok()?);
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

/// Pairs of queue and message: removals and delivered marks. Runs of one queue and small steps from id to id take few
/// octets: variable-length integers, the message as the difference (modulo 2^64) to the one before.
pub(super) fn encode_pairs(out: &mut Vec<u8>, pairs: &[(QueueId, MessageId)]) {
    out.put_u32(pairs.len() as u32);
    let mut last = MessageId(0);
    for run in pairs.chunk_by(|a, b| a.0 == b.0) {
        put_varint(out, run.first().map_or(0, |(queue, _)| queue.0));
        put_varint(out, run.len() as u64);
        for (_, id) in run {
            let step = id.0.wrapping_sub(last.0) as i64;
            // Zigzag: small steps back stay small too.
            put_varint(out, ((step << 1) ^ (step >> 63)) as u64);
            last = *id;
        }
    }
}

/// Reads what [`encode_pairs`] wrote.
pub(super) fn decode_pairs(payload: &[u8], mut visit: impl FnMut(QueueId, MessageId)) -> Option<()> {
    let mut rest = payload;
    let mut left = u64::from(rest.try_get_u32().ok()?);
    let mut last = 0u64;
    while left > 0 {
        let queue = QueueId(take_varint(&mut rest)?);
        let run = take_varint(&mut rest)?;
        if run == 0 {
            return None;
        }
        left = left.checked_sub(run)?;
        for _ in 0..run {
            let step = take_varint(&mut rest)?;
            last = last.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg());
            visit(queue, MessageId(last));
        }
    }
    rest.is_empty().then_some(())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let octet = rest.try_get_u8().ok()?;
        value |= u64::from(octet & 0x7F) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_come_back(pairs in proptest::collection::vec((0u64..4, any::<u64>()), 0..40)) {
            let pairs: Vec<_> = pairs.into_iter().map(|(queue, id)| (QueueId(queue), MessageId(id))).collect();
            let mut octets = Vec::new();
            encode_pairs(&mut octets, &pairs);
            let mut read = Vec::new();
            prop_assert_eq!(decode_pairs(&octets, |queue, id| read.push((queue, id))), Some(()));
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_octets_panic(octets in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode_pairs(&octets, |_, _| {});
            let _ = decode_facts(&octets, &mut Vec::new());
            let _ = decode_message(&octets, |_| Resident::default());
        }
    }
}
