//! Reading messages back.
//!
//! Does not know why they are wanted again.

use std::sync::Arc;

use super::core::Store;
use super::disk::Disk;
use super::format::Record;
use super::index::Location;
use super::operation::{Log, Report};
use super::payload::{decode_message, peek_id};
use crate::identity::{MessageId, QueueId};
use crate::message::{Message, Resident};

/// Octets between two records up to which reading them too costs less than a second call.
const GAP_MAX_OCTETS: u64 = 16 * 1024;
/// Octets that are read with one call, unless one record is larger.
const READ_MAX_OCTETS: u64 = 1024 * 1024;

/// One of the messages asked for: where it stands, and which of them it is.
type Wanted = (Location, usize);

impl<D: Disk> Store<D> {
    /// Reads messages, in the order asked; `None` for what cannot be read.
    pub(crate) fn load(&mut self, queue: QueueId, wanted: &[(Log, MessageId)]) -> Report {
        let mut messages: Vec<(MessageId, Option<Arc<Message>>)> = wanted.iter().map(|(_, id)| (*id, None)).collect();
        for log in [Log::Durable, Log::Overflow] {
            let mut stored: Vec<Wanted> = Vec::new();
            for (place, (_, id)) in wanted.iter().enumerate().filter(|(_, (of, _))| *of == log) {
                match self.log(log).index.get(*id) {
                    Some((at, _)) => stored.push((at, place)),
                    // What is not committed is still in memory.
                    None => messages[place].1 = self.pending.iter().find_map(|commit| commit.message(log, *id)),
                }
            }
            stored.sort_unstable();
            for run in runs(&stored) {
                self.read_run(log, run, &mut messages);
            }
        }
        for (id, _) in messages.iter().filter(|(_, message)| message.is_none()) {
            tracing::error!(message = id.0, queue = queue.0, "a message that a queue holds cannot be read");
        }
        Report::Loaded { queue, messages }
    }

    fn log(&mut self, log: Log) -> &mut super::log::MessageLog<D> {
        match log {
            Log::Durable => &mut self.durable,
            Log::Overflow => &mut self.overflow,
        }
    }

    fn read_run(&mut self, log: Log, run: &[Wanted], messages: &mut [(MessageId, Option<Arc<Message>>)]) {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return };
        let (number, from) = (u64::from(first.segment), u64::from(first.offset));
        let octets = (u64::from(last.offset) + u64::from(last.octets) - from) as usize;
        let resident = Arc::clone(&self.resident);
        let disk = self.disk.clone();
        let segments = &mut self.log(log).segments;
        let seed = segments.seed_of(number);
        let read = match segments.read(number, from, octets) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, offset = from, "messages not read");
                return;
            }
        };
        for (at, place) in run {
            let begin = (u64::from(at.offset) - from) as usize;
            let record = read.get(begin..begin + at.octets as usize).and_then(|octets| Record::decode(octets, seed));
            let (id, message) = &mut messages[*place];
            *message = record
                .filter(|record| peek_id(record.payload) == Some(*id))
                .and_then(|record| decode_message(record.payload, |content| Resident::new(content, &resident)))
                .map(Arc::new);
            if message.is_none() {
                let path = disk.path(&segments.file_name(number));
                tracing::error!(path = %path.display(), offset = at.offset, "a message's record is damaged");
            }
        }
    }
}

/// Cuts sorted places into stretches that are read at once.
fn runs(sorted: &[Wanted]) -> Vec<&[Wanted]> {
    let mut runs = Vec::new();
    let mut begin = 0;
    for end in 1..=sorted.len() {
        let (first, last) = (sorted[begin].0, sorted[end - 1].0);
        let split = sorted.get(end).is_none_or(|(next, _)| {
            let after_last = u64::from(last.offset) + u64::from(last.octets);
            let next_end = u64::from(next.offset) + u64::from(next.octets);
            next.segment != first.segment
                || u64::from(next.offset) > after_last + GAP_MAX_OCTETS
                || next_end - u64::from(first.offset) > READ_MAX_OCTETS
        });
        if split {
            runs.push(&sorted[begin..end]);
            begin = end;
        }
    }
    runs
}
