//! Opening a store: reading everything once, deciding what counts, and getting ready to go on.
//!
//! Does not know how anything is written, apart from the batch that says that work goes on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::StoreOptions;
use super::core::{Parts, Store};
use super::disk::{Disk, DiskFile};
use super::error::StoreError;
use super::format::{COUNT_MAX, HEADER_OCTETS, Header, Kind, Purpose, Record};
use super::index::Location;
use super::journal::{JOURNAL, Journal, decode_header, read_all};
use super::log::{BatchContent, MessageLog};
use super::metrics::StoreMetrics;
use super::newest::{Newest, is_end_at};
use super::operation::{Recovered, RecoveredEntry};
use super::payload::{decode_facts, decode_pairs};
use super::scan::{ScanEnd, proof_of_sync, scan};
use super::segments::{Segments, segment_name, segment_number};
use crate::identity::{MessageId, QueueId, Timestamp};
use crate::message::MESSAGE_OVERHEAD_BYTES;

/// What is kept of each record of a message until all are read.
struct Fact {
    id: MessageId,
    segment: u32,
    offset: u32,
    weight: u32,
    body: u32,
    priority: u8,
    published_at: Timestamp,
    /// One more than the time; 0 without one.
    expires_at: u64,
}

/// What is gathered while segments are read.
struct Reading<D: Disk> {
    log: MessageLog<D>,
    facts: Vec<Fact>,
    delivered: HashSet<(QueueId, MessageId)>,
    /// Whether the last whole batch says that this was an orderly end.
    ended: bool,
    /// Something that was torn stands behind it.
    torn: bool,
    last_message: u64,
    queues: Vec<QueueId>,
}

/// How much of a segment must be there.
struct Limits {
    /// So many octets count; without that, it is the last.
    counts: Option<u64>,
    /// An orderly end was noted after so many octets of the last.
    end: Option<u64>,
}

impl<D: Disk> Store<D> {
    /// Opens the store on a disk, or makes a new one there, which then uses this salt.
    ///
    /// # Errors
    /// What is wrong with it; then nothing was changed that counts.
    pub(crate) fn open(
        disk: D,
        options: StoreOptions,
        salt: u64,
        resident: Arc<AtomicUsize>,
        metrics: Arc<StoreMetrics>,
    ) -> Result<(Self, Recovered), StoreError> {
        let mut journal = open_journal(&disk, salt, &metrics)?;
        let salt = journal.salt();
        let new_log = |purpose| {
            let octets = options.segment_octets;
            MessageLog::new(Segments::new(disk.clone(), purpose, salt, octets, Arc::clone(&metrics)))
        };
        for name in list(&disk, "overflow")? {
            let name = format!("overflow/{name}");
            disk.unlink(&name).map_err(StoreError::io("unlink", disk.path(&name)))?;
        }
        let mut reading = Reading {
            log: new_log(Purpose::Messages),
            facts: Vec::new(),
            delivered: HashSet::new(),
            ended: false,
            torn: false,
            last_message: 0,
            queues: Vec::new(),
        };
        reading.read_all(&disk, salt, journal.newest())?;
        if journal.topology().last_queue().max(reading.last_message).max(reading.log.segments.batches().0) >= COUNT_MAX
        {
            return Err(StoreError::UsedUp { directory: disk.path("") });
        }
        reading.log.drop_queues(|queue| !journal.topology().has_queue(queue));
        if reading.ended || journal.newest().is_some_and(|newest| newest.end.is_some()) {
            // From now on messages are delivered again; the end must not look like the last thing that happened.
            let note = |number| journal.note(Newest::written(number));
            reading.log.write(&BatchContent::default(), reading.last_message, note)?;
            reading.log.segments.sync()?;
        }
        let recovered = Recovered {
            topology: journal.topology().declarations().collect(),
            entries: reading.entries(),
            last_queue: journal.topology().last_queue(),
            last_message: reading.last_message,
        };
        let Reading { log: durable, last_message, .. } = reading;
        let overflow = new_log(Purpose::Overflow);
        let parts = Parts { disk, options, metrics, journal, durable, overflow, last_message };
        Ok((Self::of(parts, resident), recovered))
    }
}

fn open_journal<D: Disk>(disk: &D, salt: u64, metrics: &Arc<StoreMetrics>) -> Result<Journal<D>, StoreError> {
    for directory in ["messages", "overflow"] {
        disk.create_directory(directory).map_err(StoreError::io("create", disk.path(directory)))?;
    }
    let metrics = Arc::clone(metrics);
    if list(disk, "")?.iter().any(|name| name == JOURNAL) {
        return Journal::open(disk.clone(), metrics);
    }
    if list(disk, "messages")?.iter().any(|name| segment_number(name).is_some()) {
        return Err(StoreError::Missing { path: disk.path(JOURNAL) });
    }
    // Syncs the data directory, and with it the two directories made above.
    Journal::create(disk.clone(), salt, &[], None, metrics)
}

pub(super) fn list<D: Disk>(disk: &D, directory: &str) -> Result<Vec<String>, StoreError> {
    disk.list(directory).map_err(StoreError::io("list", disk.path(directory)))
}

/// The numbers of the segments there are; what a crash left of making one is removed.
pub(super) fn segment_numbers<D: Disk>(disk: &D) -> Result<Vec<u64>, StoreError> {
    let mut numbers = Vec::new();
    for name in list(disk, "messages")? {
        if name.ends_with(".log.new") {
            let name = format!("messages/{name}");
            disk.unlink(&name).map_err(StoreError::io("unlink", disk.path(&name)))?;
        }
        numbers.extend(segment_number(&name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl<D: Disk> Reading<D> {
    fn read_all(&mut self, disk: &D, salt: u64, newest: Option<Newest>) -> Result<(), StoreError> {
        let numbers = segment_numbers(disk)?;
        if let Some(newest) = newest.filter(|newest| numbers.last().is_none_or(|last| *last < newest.number)) {
            let missing = segment_name(Purpose::Messages, newest.number);
            return Err(StoreError::Missing { path: disk.path(&missing) });
        }
        // The names seen may be younger than the last sync: what follows relies on them.
        disk.sync_directory("messages").map_err(StoreError::io("sync", disk.path("messages")))?;
        let mut headers = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let name = segment_name(Purpose::Messages, *number);
            if headers.last().is_some_and(|last: &Header| last.number + 1 != *number) {
                let missing = segment_name(Purpose::Messages, number - 1);
                return Err(StoreError::Missing { path: disk.path(&missing) });
            }
            headers.push(read_header(disk, &name, *number, salt)?);
        }
        let mut last_batch = None;
        for (at, header) in headers.iter().enumerate() {
            let name = segment_name(Purpose::Messages, header.number);
            if last_batch.is_some_and(|last| last != header.last_batch) {
                return Err(corrupt(disk, &name, 0, "it does not follow on the segment before"));
            }
            let counts = headers.get(at + 1).map(|next| next.previous_length);
            let octets = read_all(disk, &name)?;
            self.log.segments.adopt(header.number);
            let end = newest.filter(|newest| newest.number == header.number).and_then(|newest| newest.end);
            let limits = Limits { counts, end: end.filter(|_| counts.is_none()) };
            let end = self.read_segment(disk, &name, header, &octets, &limits)?;
            last_batch = Some(end.last_batch);
            self.log.segments.adopted(end.length as u64, end.last_batch);
            if counts.is_none() {
                let file = settle_tail(disk, &name, &octets, &end)?;
                self.log.segments.resume(file);
            }
        }
        Ok(())
    }

    /// Reads one segment.
    fn read_segment(
        &mut self,
        disk: &D,
        name: &str,
        header: &Header,
        octets: &[u8],
        limits: &Limits,
    ) -> Result<ScanEnd, StoreError> {
        let Limits { counts, end: noted } = *limits;
        if let Some(synced) = counts.or(noted).filter(|synced| (octets.len() as u64) < *synced) {
            let what = format!("the file ends here, {synced} octets of it were synced");
            return Err(StoreError::Corrupt { path: disk.path(name), offset: octets.len() as u64, what });
        }
        let counted = counts.map_or(octets, |counts| &octets[..counts as usize]);
        (self.ended, self.torn) = (false, false);
        let (mut unknown, mut found) = (None, noted.is_none());
        let end = scan(counted, header, |records| {
            self.ended = false;
            found |= noted.is_some_and(|length| is_end_at(records, length));
            for (at, record) in records {
                if self.take(header.number, *at, record).is_none() {
                    unknown = unknown.or(Some(*at));
                }
            }
        });
        if let Some(at) = unknown {
            return Err(corrupt(disk, name, at, "a record makes no sense"));
        }
        self.last_message = self.last_message.max(end.last_id);
        if let Some(problem) = end.problem {
            let seed = header.seed();
            let synced = noted.is_some_and(|noted| (end.length as u64) < noted)
                || proof_of_sync(octets, end.length, seed, end.last_batch + 1).is_some();
            if counts.is_some() || synced {
                return Err(corrupt(disk, name, end.length, problem));
            }
            tracing::warn!(file = name, offset = end.length, problem, "torn end dropped, none of it was confirmed");
            self.torn = true;
        }
        if let Some(noted) = noted.filter(|_| !found) {
            return Err(corrupt(disk, name, noted as usize, "the orderly end that was noted is not there"));
        }
        Ok(end)
    }

    fn take(&mut self, number: u64, at: usize, record: &Record<'_>) -> Option<()> {
        match record.kind {
            Kind::Message => {
                let facts = decode_facts(record.payload, &mut self.queues)?;
                let place = Location { segment: number as u32, offset: at as u32, octets: record.octets() as u32 };
                self.last_message = self.last_message.max(facts.id.0);
                self.log.insert(facts.id, &self.queues, place);
                self.facts.push(Fact {
                    id: facts.id,
                    segment: place.segment,
                    offset: place.offset,
                    weight: (facts.content + MESSAGE_OVERHEAD_BYTES) as u32,
                    body: facts.body as u32,
                    priority: facts.priority,
                    published_at: facts.published_at,
                    expires_at: facts.expires_at.map_or(0, |expires| expires.0.saturating_add(1)),
                });
                Some(())
            }
            Kind::Removals => decode_pairs(record.payload, |queue, id| self.log.release(id, queue)),
            Kind::Delivered => {
                self.delivered.clear();
                decode_pairs(record.payload, |queue, id| {
                    self.delivered.insert((queue, id));
                })
            }
            Kind::End => {
                self.ended = true;
                Some(())
            }
            Kind::Void => Some(()),
            Kind::Topology | Kind::Newest => None,
        }
    }

    /// All that is left, by queue and message.
    fn entries(&mut self) -> Vec<(QueueId, Vec<RecoveredEntry>)> {
        let mut entries: BTreeMap<QueueId, Vec<RecoveredEntry>> = BTreeMap::new();
        for fact in std::mem::take(&mut self.facts) {
            let Some((at, queues)) = self.log.index.get(fact.id) else { continue };
            if (at.segment, at.offset) != (fact.segment, fact.offset) {
                continue;
            }
            for queue in queues {
                entries.entry(*queue).or_default().push(RecoveredEntry {
                    id: fact.id,
                    weight: fact.weight,
                    body: fact.body,
                    published_at: fact.published_at,
                    expires_at: fact.expires_at.checked_sub(1).map(Timestamp),
                    priority: fact.priority,
                    redelivered: !self.ended || self.torn || self.delivered.contains(&(*queue, fact.id)),
                });
            }
        }
        for list in entries.values_mut() {
            list.sort_unstable_by_key(|entry| entry.id);
        }
        entries.into_iter().collect()
    }
}

fn read_header<D: Disk>(disk: &D, name: &str, number: u64, salt: u64) -> Result<Header, StoreError> {
    let failed = |action| StoreError::io(action, disk.path(name));
    let file = disk.open(name).map_err(failed("open"))?;
    let mut octets = [0; HEADER_OCTETS];
    let read = file.read_at(0, &mut octets).map_err(failed("read"))?;
    let header = decode_header(&octets[..read], Purpose::Messages, number, &disk.path(name))?;
    if header.salt != salt {
        return Err(corrupt(disk, name, 0, "it belongs to another store"));
    }
    Ok(header)
}

/// Makes the last segment such that it ends where it counts and that this is synced. What may not have been synced is
/// written once more: after a failed sync the system may show octets that the disk does not have.
fn settle_tail<D: Disk>(disk: &D, name: &str, octets: &[u8], end: &ScanEnd) -> Result<D::File, StoreError> {
    let failed = |action| StoreError::io(action, disk.path(name));
    let file = disk.open(name).map_err(failed("open"))?;
    if octets.len() > end.length {
        file.truncate(end.length as u64).map_err(failed("truncate"))?;
    }
    file.write_at(end.synced_length as u64, &octets[end.synced_length..end.length]).map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))?;
    Ok(file)
}

fn corrupt<D: Disk>(disk: &D, name: &str, offset: usize, what: &str) -> StoreError {
    StoreError::Corrupt { path: disk.path(name), offset: offset as u64, what: what.to_owned() }
}
