//! Changes of the topology, to octets and back. The octets are described in [`super`].
//!
//! Tables are written by `amq-protocol`, in the encoding of the wire, and their depth is checked before they are parsed.
//! Does not know which of the changes still matter.

use std::sync::Arc;

use amq_protocol::frame::WriteContext;
use amq_protocol::types::FieldTable;
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use bytes::{Buf, BufMut};

use super::format::COUNT_MAX;
use super::operation::{StoredBinding, StoredDestination, StoredExchange, StoredQueue, TopologyChange};
use crate::frame::scan_table;
use crate::identity::QueueId;

const QUEUE_DECLARED: u8 = 1;
const QUEUE_DELETED: u8 = 2;
const EXCHANGE_DECLARED: u8 = 3;
const EXCHANGE_DELETED: u8 = 4;
const BOUND: u8 = 5;
const UNBOUND: u8 = 6;
const TO_QUEUE: u8 = 1;
const TO_EXCHANGE: u8 = 2;

pub(super) fn encode_change(out: &mut Vec<u8>, change: &TopologyChange) {
    match change {
        TopologyChange::QueueDeclared(queue) => {
            out.put_u8(QUEUE_DECLARED);
            out.put_u64(queue.id.0);
            put_text(out, &queue.vhost);
            put_text(out, &queue.name);
            out.put_u8(u8::from(queue.auto_delete));
            put_table(out, &queue.arguments);
        }
        TopologyChange::QueueDeleted(queue) => {
            out.put_u8(QUEUE_DELETED);
            out.put_u64(queue.0);
        }
        TopologyChange::ExchangeDeclared(exchange) => {
            out.put_u8(EXCHANGE_DECLARED);
            put_text(out, &exchange.vhost);
            put_text(out, &exchange.name);
            put_text(out, &exchange.kind);
            out.put_u8(u8::from(exchange.auto_delete));
            out.put_u8(u8::from(exchange.internal));
            put_table(out, &exchange.arguments);
        }
        TopologyChange::ExchangeDeleted { vhost, name } => {
            out.put_u8(EXCHANGE_DELETED);
            put_text(out, vhost);
            put_text(out, name);
        }
        TopologyChange::Bound(binding) => {
            out.put_u8(BOUND);
            encode_binding(out, binding);
        }
        TopologyChange::Unbound(binding) => {
            out.put_u8(UNBOUND);
            encode_binding(out, binding);
        }
    }
}

/// A binding as octets, which are the same for the same binding.
pub(super) fn encode_binding(out: &mut Vec<u8>, binding: &StoredBinding) {
    put_text(out, &binding.vhost);
    put_text(out, &binding.source);
    match &binding.destination {
        StoredDestination::Queue(queue) => {
            out.put_u8(TO_QUEUE);
            out.put_u64(queue.0);
        }
        StoredDestination::Exchange(name) => {
            out.put_u8(TO_EXCHANGE);
            put_text(out, name);
        }
    }
    put_text(out, &binding.key);
    put_table(out, &binding.arguments);
}

/// Reads what [`encode_change`] wrote.
pub(super) fn decode_change(payload: &[u8]) -> Option<TopologyChange> {
    let mut rest = payload;
    let rest = &mut rest;
    let change = match rest.try_get_u8().ok()? {
        QUEUE_DECLARED => TopologyChange::QueueDeclared(StoredQueue {
            id: take_queue(rest)?,
            vhost: take_text(rest)?,
            name: take_text(rest)?,
            auto_delete: rest.try_get_u8().ok()? != 0,
            arguments: take_table(rest)?,
        }),
        QUEUE_DELETED => TopologyChange::QueueDeleted(take_queue(rest)?),
        EXCHANGE_DECLARED => TopologyChange::ExchangeDeclared(StoredExchange {
            vhost: take_text(rest)?,
            name: take_text(rest)?,
            kind: take_text(rest)?,
            auto_delete: rest.try_get_u8().ok()? != 0,
            internal: rest.try_get_u8().ok()? != 0,
            arguments: take_table(rest)?,
        }),
        EXCHANGE_DELETED => TopologyChange::ExchangeDeleted { vhost: take_text(rest)?, name: take_text(rest)? },
        BOUND => TopologyChange::Bound(take_binding(rest)?),
        UNBOUND => TopologyChange::Unbound(take_binding(rest)?),
        _ => return None,
    };
    rest.is_empty().then_some(change)
}

fn take_queue(rest: &mut &[u8]) -> Option<QueueId> {
    rest.try_get_u64().ok().filter(|id| *id <= COUNT_MAX).map(QueueId)
}

fn take_binding(rest: &mut &[u8]) -> Option<StoredBinding> {
    Some(StoredBinding {
        vhost: take_text(rest)?,
        source: take_text(rest)?,
        destination: match rest.try_get_u8().ok()? {
            TO_QUEUE => StoredDestination::Queue(take_queue(rest)?),
            TO_EXCHANGE => StoredDestination::Exchange(take_text(rest)?),
            _ => return None,
        },
        key: take_text(rest)?,
        arguments: take_table(rest)?,
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Option<Arc<str>> {
    let length = rest.try_get_u32().ok()? as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok().map(Arc::from)
}

fn put_table(out: &mut Vec<u8>, table: &FieldTable) {
    let context = WriteContext { write: Vec::new(), position: 0 };
    match gen_field_table(table)(context) {
        Ok(done) => out.put_slice(&done.write),
        // A `Vec` takes everything; what cannot be said at all must not make the rest unreadable.
        Err(error) => {
            tracing::error!(%error, ?table, "field table could not be encoded, stored as empty");
            out.put_u32(0);
        }
    }
}

fn take_table(rest: &mut &[u8]) -> Option<FieldTable> {
    let (table, after) = rest.split_at_checked(scan_table(rest).ok()?)?;
    *rest = after;
    parse_field_table(table).ok().map(|(_, table)| table)
}
