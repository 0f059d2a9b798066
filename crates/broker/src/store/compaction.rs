//! Moving what is still held out of the oldest segment, so that a message that stays for long does not keep
//! everything that came after it on the disk.
//!
//! A little at a time, together with what is written anyway. Does not know what the messages are.

use super::core::Store;
use super::disk::Disk;
use super::error::StoreError;
use super::format::{BATCH_OCTETS, BatchStart, HEADER_OCTETS, RECORD_OCTETS, Record};
use super::log::Moved;
use super::payload::peek_id;

/// How much of the oldest segment is looked at with each commit, so that commits do not have to wait for long; at most a
/// quarter of a segment, and one record may be larger.
const STEP_OCTETS: u64 = 1024 * 1024;
/// How many segments' worth of dead octets are left alone: moving messages costs writing too.
const SLACK_SEGMENTS: u64 = 4;

/// How far the oldest segment was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    segment: u64,
    offset: u64,
    /// Where the batch ends that `offset` is in.
    batch_end: u64,
}

/// The state of moving.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    cursor: Cursor,
    /// A segment with something in it that can be neither read nor given up.
    blocked: Option<u64>,
}

impl Compaction {
    pub(super) fn advance(&mut self, to: Cursor) {
        self.cursor = to;
    }
}

/// What is to be moved next.
pub(super) struct Step {
    pub(super) moved: Vec<Moved>,
    /// Where to go on after that.
    pub(super) next: Cursor,
}

impl<D: Disk> Store<D> {
    /// Whether it is worth it to move messages.
    pub(super) fn wants_compaction(&self) -> bool {
        let segments = self.durable.segments.segments();
        let Some(oldest) = segments.front().filter(|oldest| segments.len() > 1 && oldest.live_messages > 0) else {
            return false;
        };
        if self.failing.is_some() || self.compaction.blocked == Some(oldest.number) {
            return false;
        }
        let live = self.durable.segments.live_octets();
        let dead = self.durable.segments.octets() - live;
        let slack = SLACK_SEGMENTS * self.options.segment_octets;
        // When room is short, more work for less gain.
        dead > live + slack || (self.is_tight() && dead > live / 4 + slack / 2)
    }

    /// Looks at the next part of the oldest segment.
    pub(super) fn compaction_step(&mut self) -> Option<Step> {
        if !self.wants_compaction() {
            return None;
        }
        let oldest = *self.durable.segments.segments().front()?;
        let mut cursor = self.compaction.cursor;
        if cursor.segment != oldest.number {
            let start = HEADER_OCTETS as u64;
            cursor = Cursor { segment: oldest.number, offset: start, batch_end: start };
        }
        match self.look(cursor, oldest.length) {
            Ok(step) if step.next.offset < oldest.length => Some(step),
            // What earlier steps moved is gone from here, so this must be all that is left.
            Ok(step) if step.moved.len() == oldest.live_messages as usize => Some(step),
            Ok(step) => {
                self.block(oldest.number, "messages in it were not found");
                Some(step)
            }
            Err(error) => {
                self.block(oldest.number, &error.to_string());
                None
            }
        }
    }

    fn block(&mut self, segment: u64, reason: &str) {
        tracing::error!(segment, reason, "segment cannot be emptied; it stays until its messages are consumed");
        self.compaction.blocked = Some(segment);
    }

    fn look(&mut self, mut cursor: Cursor, length: u64) -> Result<Step, StoreError> {
        let seed = self.durable.segments.seed_of(cursor.segment);
        let from = cursor.offset;
        let step = STEP_OCTETS.min(self.options.segment_octets / 4) as usize;
        let window = self.read_window(cursor.segment, from, step.max(BATCH_OCTETS), length)?;
        let mut moved = Vec::new();
        while cursor.offset < length {
            let rest = window.get((cursor.offset - from) as usize..).unwrap_or_default();
            if cursor.offset == cursor.batch_end {
                if rest.len() < BATCH_OCTETS && cursor.offset > from {
                    break;
                }
                let start = BatchStart::decode(rest, seed).ok_or_else(|| self.damaged(&cursor))?;
                cursor.offset += BATCH_OCTETS as u64;
                cursor.batch_end = cursor.offset + u64::from(start.octets);
                continue;
            }
            let Some((octets, id)) = peek_record(rest) else {
                if cursor.offset > from {
                    break;
                }
                return Err(self.damaged(&cursor));
            };
            let held = id.and_then(|id| self.durable.index.get(id).map(|(at, queues)| (id, at, queues.to_vec())));
            let here = held
                .filter(|(_, at, _)| u64::from(at.segment) == cursor.segment && u64::from(at.offset) == cursor.offset);
            if let Some((id, at, queues)) = here {
                let record = match rest.get(..octets) {
                    Some(record) => record.to_vec(),
                    None if cursor.offset > from => break,
                    None => self.read_window(cursor.segment, cursor.offset, at.octets as usize, length)?,
                };
                let record = Record::decode(&record, seed).ok_or_else(|| self.damaged(&cursor))?;
                moved.push(Moved { id, queues, payload: record.payload.to_vec() });
            }
            cursor.offset += octets as u64;
        }
        Ok(Step { moved, next: cursor })
    }

    fn read_window(&mut self, segment: u64, from: u64, octets: usize, length: u64) -> Result<Vec<u8>, StoreError> {
        self.durable.segments.read(segment, from, octets.min((length - from) as usize))
    }

    fn damaged(&self, cursor: &Cursor) -> StoreError {
        let path = self.disk.path(&self.durable.segments.file_name(cursor.segment));
        StoreError::Corrupt { path, offset: cursor.offset, what: "a record cannot be read any longer".to_owned() }
    }
}

/// Octets of the record at the front and, if it is long enough for one, the id it begins with; of another kind of record
/// that is a number that is not found where it stands.
fn peek_record(rest: &[u8]) -> Option<(usize, Option<crate::identity::MessageId>)> {
    let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
    let payload = rest.get(RECORD_OCTETS..)?;
    if length >= 8 && payload.len() < 8 {
        return None;
    }
    Some((RECORD_OCTETS + length, if length >= 8 { peek_id(payload) } else { None }))
}
