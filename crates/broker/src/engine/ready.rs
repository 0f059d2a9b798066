//! The messages of a queue that wait: by level, and within a level in the order in which they were accepted.
//!
//! Keeps the order and the counts. Does not know consumers, or why a message comes or goes.

use std::collections::VecDeque;

use super::entry::Entry;
use crate::identity::{MessageId, Timestamp};

/// The messages that wait, by level and then by id.
#[derive(Debug)]
pub(super) struct Ready {
    /// The highest level is delivered first; each is in the order of ids.
    pub(super) levels: Vec<VecDeque<Entry>>,
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// How many of them expire; while there are none, nothing looks for the next to do so.
    expiring: usize,
}

impl Ready {
    pub(super) fn new(highest_level: u8) -> Self {
        Self { levels: (0..=highest_level).map(|_| VecDeque::new()).collect(), count: 0, bytes: 0, expiring: 0 }
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.levels.iter().rev().find_map(VecDeque::front)
    }

    fn add(&mut self, entry: &Entry) {
        self.count += 1;
        self.bytes += entry.weight as usize;
        self.expiring += usize::from(entry.expires());
    }

    fn subtract(&mut self, entry: &Entry) {
        self.count -= 1;
        self.bytes -= entry.weight as usize;
        self.expiring -= usize::from(entry.expires());
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.add(&entry);
        self.levels[usize::from(entry.level)].push_back(entry);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.levels.iter_mut().rev().find_map(VecDeque::pop_front)?;
        self.subtract(&entry);
        Some(entry)
    }

    pub(super) fn remove(&mut self, id: MessageId) -> Option<Entry> {
        let removed = self.levels.iter_mut().find_map(|level| {
            let at = level.binary_search_by_key(&id, |entry| entry.id).ok()?;
            level.remove(at)
        })?;
        self.subtract(&removed);
        Some(removed)
    }

    /// Takes out everything, the next to be delivered first.
    pub(super) fn take_all(&mut self) -> VecDeque<Entry> {
        (self.count, self.bytes, self.expiring) = (0, 0, 0);
        let mut levels = self.levels.iter_mut().rev().map(std::mem::take).filter(|level| !level.is_empty());
        let mut all = levels.next().unwrap_or_default();
        levels.for_each(|mut level| all.append(&mut level));
        all
    }

    /// When the message whose turn it is expires. Only that one does, as in RabbitMQ: one of a lower level waits behind
    /// those of higher ones.
    pub(super) fn next_expiry(&self) -> Timestamp {
        if self.expiring == 0 {
            return Entry::NEVER;
        }
        self.front().map_or(Entry::NEVER, |entry| entry.expires_at)
    }

    /// Takes the first message if it is to expire by now.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<Entry> {
        if self.next_expiry() <= now { self.pop() } else { None }
    }

    /// A message that waits, by its id.
    pub(super) fn find(&mut self, id: MessageId) -> Option<&mut Entry> {
        self.levels.iter_mut().find_map(|level| {
            let at = level.binary_search_by_key(&id, |entry| entry.id).ok()?;
            level.get_mut(at)
        })
    }

    pub(super) fn put_back(&mut self, mut entries: Vec<Entry>) {
        entries.sort_unstable_by_key(|entry| (entry.level, entry.id));
        entries.iter().for_each(|entry| self.add(entry));
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let level = first.level;
            let mut same = vec![first];
            while let Some(entry) = entries.next_if(|entry| entry.level == level) {
                same.push(entry);
            }
            merge(&mut self.levels[usize::from(level)], same);
        }
    }
}

/// Merges ascending entries into ascending ones.
fn merge(level: &mut VecDeque<Entry>, entries: Vec<Entry>) {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
    let (first, last) = (first.id, last.id);
    if level.front().is_none_or(|front| last < front.id) {
        for entry in entries.into_iter().rev() {
            level.push_front(entry);
        }
        return;
    }
    if first == last {
        let at = level.partition_point(|ready| ready.id < first);
        for entry in entries {
            level.insert(at, entry);
        }
        return;
    }
    level.extend(entries);
    // Two ascending runs: the sort merges them in linear time.
    level.make_contiguous().sort_by_key(|entry| entry.id);
}
