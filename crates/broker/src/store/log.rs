//! One log of messages: its segments together with the index of what stands in them.
//!
//! Does not know commits, nor when to sync.

use std::sync::Arc;

use super::disk::Disk;
use super::error::StoreError;
use super::format::{BatchWriter, Kind, SEGMENT_OCTETS_MAX};
use super::index::{Index, Location};
use super::payload::{encode_message, encode_moved, encode_pairs};
use super::segments::Segments;
use crate::identity::{MessageId, QueueId};
use crate::message::Message;

/// A message to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) id: MessageId,
    pub(super) queues: Vec<QueueId>,
    pub(super) message: Arc<Message>,
}

/// A message to be written once more.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) id: MessageId,
    pub(super) queues: Vec<QueueId>,
    /// The payload of its record as it was read.
    pub(super) payload: Vec<u8>,
}

/// What one batch is to contain, in this order.
#[derive(Debug, Default)]
pub(super) struct BatchContent<'a> {
    pub(super) moved: &'a [Moved],
    pub(super) puts: &'a [Planned],
    pub(super) removals: &'a [(QueueId, MessageId)],
    /// For an orderly end: what was delivered before.
    pub(super) end: Option<&'a [(QueueId, MessageId)]>,
}

/// Segments and index.
pub(super) struct MessageLog<D: Disk> {
    pub(super) segments: Segments<D>,
    pub(super) index: Index,
    /// Used again for each batch, so that a busy broker does not allocate for it.
    buffer: Vec<u8>,
}

/// A buffer that grew beyond this for one batch is given back.
const BUFFER_KEPT_OCTETS: usize = 1024 * 1024;

impl<D: Disk> MessageLog<D> {
    pub(super) fn new(segments: Segments<D>) -> Self {
        Self { segments, index: Index::default(), buffer: Vec::new() }
    }

    /// Writes one batch; where the moved messages stand, then the new ones. Changes nothing in the index. `note` is told
    /// the number of the segment when that is there and the batch is not.
    ///
    /// # Errors
    /// [`StoreError::Io`]; then also everything that was written and not synced before may be void.
    pub(super) fn write(
        &mut self,
        content: &BatchContent<'_>,
        last_id: u64,
        note: impl FnOnce(u64) -> Result<(), StoreError>,
    ) -> Result<Vec<Location>, StoreError> {
        let (number, at) = self.segments.prepare(last_id)?;
        note(number)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut places = Vec::with_capacity(content.moved.len() + content.puts.len());
        let mut writer = BatchWriter::new(&mut buffer, self.segments.seed_of(number));
        for moved in content.moved {
            // A payload that cannot be taken apart was not read by us; it leads to no record that recovery believes.
            places.push(writer.record(Kind::Message, |out| {
                let _ = encode_moved(out, moved.id, &moved.queues, &moved.payload);
            }));
        }
        for put in content.puts {
            places.push(writer.record(Kind::Message, |out| encode_message(out, put.id, &put.queues, &put.message)));
        }
        if !content.removals.is_empty() {
            writer.record(Kind::Removals, |out| encode_pairs(out, content.removals));
        }
        if let Some(delivered) = content.end {
            writer.record(Kind::Delivered, |out| encode_pairs(out, delivered));
            writer.record(Kind::End, |_| {});
        }
        let octets = writer.octets() as u64;
        let (last, synced) = self.segments.batches();
        writer.finish(last + 1, synced, last_id);
        let written = if at + octets > SEGMENT_OCTETS_MAX {
            let path = self.segments.file_name(number);
            Err(StoreError::io("write", path)(std::io::Error::other("more than 4 GiB were handed over at once")))
        } else {
            self.segments.append(&buffer)
        };
        buffer.shrink_to(BUFFER_KEPT_OCTETS);
        self.buffer = buffer;
        written?;
        let place = |(offset, octets)| Location { segment: number as u32, offset: (at + offset) as u32, octets };
        Ok(places.into_iter().map(place).collect())
    }

    /// Enters a message, in place of what was known of it.
    pub(super) fn insert(&mut self, id: MessageId, queues: &[QueueId], at: Location) {
        if queues.is_empty() {
            return;
        }
        if let Some(before) = self.index.insert(id, queues, at) {
            self.segments.vacate(before);
        }
        self.segments.occupy(at);
    }

    /// Takes one holder away.
    pub(super) fn release(&mut self, id: MessageId, queue: QueueId) {
        if let Some(freed) = self.index.release(id, queue) {
            self.segments.vacate(freed);
        }
    }

    /// Takes queues away from all messages.
    pub(super) fn drop_queues(&mut self, dropped: impl Fn(QueueId) -> bool) {
        let segments = &mut self.segments;
        self.index.drop_queues(dropped, |freed| segments.vacate(freed));
    }
}
