//! What is known of one run: every receiver, every message, no payload. The same calls build it while
//! messages arrive and while a file is read back, so both come to the same. It knows no files and no locks.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};

use crosstalk_contract::record::{ReceivedRecord, ReceiverReport};

use super::{
    InboxError, MESSAGES_MAX, RECEIVERS_MAX,
    format::{self, Event, Record},
    within,
};

/// One run.
#[derive(Debug)]
pub(super) struct Book {
    paradigm: String,
    of: u64,
    /// In the order in which they first got something; few, so that looking one up is a short walk.
    receivers: Vec<Receiver>,
    processed: u64,
    first_ns: u64,
    last_ns: u64,
}

#[derive(Debug)]
struct Receiver {
    name: String,
    messages: BTreeMap<u64, Entry>,
    processed: u64,
    duplicates: u64,
    in_progress: u64,
}

/// One message for one receiver: 32 bytes, as there may be a million.
#[derive(Debug)]
struct Entry {
    received_ns: u64,
    processed_ns: Option<NonZeroU64>,
    /// Where the record with the payload begins in the file.
    place: u64,
    copies: u32,
    position: u32,
}

impl Book {
    pub(super) fn new(paradigm: String, of: u64) -> Self {
        Self { paradigm, of, receivers: Vec::new(), processed: 0, first_ns: 0, last_ns: 0 }
    }

    pub(super) fn paradigm(&self) -> &str {
        &self.paradigm
    }

    pub(super) fn of(&self) -> u64 {
        self.of
    }

    /// Processed messages over all receivers.
    pub(super) fn processed(&self) -> u64 {
        self.processed
    }

    pub(super) fn first_ns(&self) -> u64 {
        self.first_ns
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Whether nothing has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// How many copies of a message a receiver has got, and whether it has processed it.
    pub(super) fn known(&self, receiver: &str, seq: u64) -> Option<(u64, bool)> {
        let entry = self.receivers.iter().find(|r| r.name == receiver)?.messages.get(&seq)?;
        Some((u64::from(entry.copies), entry.processed_ns.is_some()))
    }

    /// Whether one more message for this receiver is within the bounds.
    pub(super) fn has_room(&self, receiver: &str) -> Result<(), InboxError> {
        match self.receivers.iter().find(|r| r.name == receiver) {
            Some(known) => within("messages of one run", known.messages.len() + 1, MESSAGES_MAX),
            None => within("receivers of one run", self.receivers.len() + 1, RECEIVERS_MAX),
        }
    }

    /// Notes a record that begins at `place`; `false` when it does not fit what is known.
    pub(super) fn note(&mut self, record: &Record, place: u64) -> bool {
        let Record { receiver, at_ns, event } = record;
        match event {
            Event::Received(message) => {
                self.arrived(receiver, message.identity.seq, message.identity.of, *at_ns, place)
            }
            Event::Copy { seq } => self.copied(receiver, *seq, *at_ns),
            Event::Processed { seq } => self.finished(receiver, *seq, *at_ns),
        }
    }

    /// Notes a first copy; `false` when it is not the first.
    pub(super) fn arrived(&mut self, receiver: &str, seq: u64, of: u64, at_ns: u64, place: u64) -> bool {
        if self.known(receiver, seq).is_some() {
            return false;
        }
        self.first_ns = if self.is_empty() { at_ns } else { self.first_ns.min(at_ns) };
        self.last_ns = self.last_ns.max(at_ns);
        // The first message to arrive may be one that did not know.
        self.of = self.of.max(of);
        let index = self.receivers.iter().position(|r| r.name == receiver).unwrap_or_else(|| {
            self.receivers.push(Receiver::new(receiver));
            self.receivers.len() - 1
        });
        let messages = &mut self.receivers[index].messages;
        let position = u32::try_from(messages.len() + 1).unwrap_or(u32::MAX);
        messages.insert(seq, Entry { received_ns: at_ns, processed_ns: None, place, copies: 1, position });
        true
    }

    /// Notes a further copy; `false` when there was none before.
    pub(super) fn copied(&mut self, receiver: &str, seq: u64, at_ns: u64) -> bool {
        let Some(receiver) = self.receiver(receiver) else { return false };
        let Some(entry) = receiver.messages.get_mut(&seq) else { return false };
        entry.copies = entry.copies.saturating_add(1);
        receiver.duplicates += 1;
        self.last_ns = self.last_ns.max(at_ns);
        true
    }

    /// Notes the end of the work; `false` when that is known already, or the message is not.
    pub(super) fn finished(&mut self, receiver: &str, seq: u64, at_ns: u64) -> bool {
        let Some(receiver) = self.receiver(receiver) else { return false };
        match receiver.messages.get_mut(&seq) {
            Some(entry) if entry.processed_ns.is_none() => {
                entry.processed_ns = Some(NonZeroU64::new(at_ns).unwrap_or(NonZeroU64::MIN));
            }
            _ => return false,
        }
        receiver.processed += 1;
        self.processed += 1;
        self.last_ns = self.last_ns.max(at_ns);
        true
    }

    /// A copy is at work.
    pub(super) fn begins_work(&mut self, receiver: &str) {
        if let Some(receiver) = self.receiver(receiver) {
            receiver.in_progress += 1;
        }
    }

    /// A copy is no longer at work, finished or not.
    pub(super) fn ends_work(&mut self, receiver: &str) {
        if let Some(receiver) = self.receiver(receiver) {
            receiver.in_progress = receiver.in_progress.saturating_sub(1);
        }
    }

    /// Bytes that are still to be written when every message that is here ends.
    pub(super) fn bytes_to_come(&self) -> u64 {
        let unprocessed = |r: &Receiver| r.messages.len() as u64 - r.processed;
        self.receivers.iter().map(|r| unprocessed(r) * format::processed_len(&r.name)).sum()
    }

    /// What each receiver got, by name, with those of `registered` that got nothing.
    pub(super) fn receivers(&self, registered: &BTreeSet<String>, with_records: bool) -> Vec<ReceiverReport> {
        let here = |name: &String| self.receivers.iter().any(|r| r.name == *name);
        let absent = registered.iter().filter(|name| !here(name)).map(|name| nothing(name));
        let mut reports: Vec<_> = self.receivers.iter().map(|r| r.report(with_records)).chain(absent).collect();
        reports.sort_by(|a, b| a.receiver.cmp(&b.receiver));
        reports
    }

    /// Numbers of the messages of one receiver, or of all, each once and in order, and where they stand.
    pub(super) fn places(&self, receiver: Option<&str>) -> Vec<(u64, u64)> {
        let chosen = self.receivers.iter().filter(|r| receiver.is_none_or(|name| r.name == name));
        let mut places: Vec<(u64, u64)> =
            chosen.flat_map(|r| r.messages.iter().map(|(seq, entry)| (*seq, entry.place))).collect();
        places.sort_unstable();
        places.dedup_by_key(|(seq, _)| *seq);
        places
    }

    fn receiver(&mut self, name: &str) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|r| r.name == name)
    }
}

impl Receiver {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), messages: BTreeMap::new(), processed: 0, duplicates: 0, in_progress: 0 }
    }

    fn report(&self, with_records: bool) -> ReceiverReport {
        let record = |(seq, entry): (&u64, &Entry)| ReceivedRecord {
            seq: *seq,
            received_ns: entry.received_ns,
            processed_ns: entry.processed_ns.map(NonZeroU64::get),
            copies: entry.copies.into(),
            position: entry.position.into(),
        };
        ReceiverReport {
            receiver: self.name.clone(),
            received: self.messages.len() as u64,
            processed: self.processed,
            duplicates: self.duplicates,
            in_progress: self.in_progress,
            records: if with_records { self.messages.iter().map(record).collect() } else { Vec::new() },
        }
    }
}

/// The report of a receiver that got nothing.
pub(super) fn nothing(receiver: &str) -> ReceiverReport {
    Receiver::new(receiver).report(false)
}
