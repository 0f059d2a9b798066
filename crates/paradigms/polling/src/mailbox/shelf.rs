//! The contents of a mailbox: which message lies at which offset, which were taken, and who has to go when room
//! is needed. It waits for nothing, reads no clock, and knows nobody who asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crosstalk_contract::{Message, RunId};

use crate::wire::Deposit;

/// How much a mailbox keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    /// A message nobody took is dropped after this.
    pub(crate) retention: Duration,
}

/// How much one answer brings. A first message comes whatever its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

/// What is asked of the mailbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    /// Messages behind this offset. One that was not given out yet counts as the newest.
    pub(crate) after: u64,
    /// Only this run's; the asker confirms that it took them up to `after`.
    pub(crate) run: Option<RunId>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Messages with their offsets, oldest first.
    pub(crate) messages: Vec<(u64, Message)>,
    /// The offset to ask behind next.
    pub(crate) last: u64,
    /// Whether more was there than one answer brings.
    pub(crate) more: bool,
    /// Whether more of the run can come; `None` without a run, or when it is unknown here.
    pub(crate) deposit: Option<Deposit>,
}

/// There is no room, and nothing may be dropped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// When the next message expires, which makes some.
    pub(crate) next_expiry: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    expires: Instant,
}

/// What is known of a run that has messages here, or may still get some.
#[derive(Debug, Default)]
struct Known {
    open: bool,
    offsets: BTreeSet<u64>,
    taken_through: u64,
}

/// The contents.
#[derive(Debug)]
pub(crate) struct Shelf {
    limits: Limits,
    newest: u64,
    bytes: u64,
    /// Offsets rise with time, so the first one is the first to expire.
    kept: BTreeMap<u64, Kept>,
    /// Those of `kept` whose poller has confirmed them, and their bytes.
    taken: BTreeSet<u64>,
    taken_bytes: u64,
    runs: HashMap<RunId, Known>,
    expired_unread: u64,
}

fn size(message: &Message) -> u64 {
    message.payload.len() as u64
}

impl Shelf {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            newest: 0,
            bytes: 0,
            kept: BTreeMap::new(),
            taken: BTreeSet::new(),
            taken_bytes: 0,
            runs: HashMap::new(),
            expired_unread: 0,
        }
    }

    /// Messages of this run will come.
    pub(crate) fn open(&mut self, run: RunId) {
        self.runs.entry(run).or_default().open = true;
    }

    /// No more messages of this run will come.
    pub(crate) fn close(&mut self, run: RunId) {
        if let Some(known) = self.runs.get_mut(&run) {
            known.open = false;
        }
        self.forget(run);
    }

    /// Puts a message in, dropping the oldest taken ones where that makes room for it.
    pub(crate) fn offer(&mut self, message: &Message, now: Instant) -> Result<u64, NoRoom> {
        self.expire(now);
        let unread = self.kept.len() - self.taken.len();
        let unread_bytes = self.bytes - self.taken_bytes;
        if unread >= self.limits.messages || unread_bytes + size(message) > self.limits.bytes {
            return Err(NoRoom { next_expiry: self.kept.first_key_value().map(|(_, kept)| kept.expires) });
        }
        while self.kept.len() >= self.limits.messages || self.bytes + size(message) > self.limits.bytes {
            let Some(oldest) = self.taken.first().copied() else { break };
            self.remove(oldest);
        }
        self.newest += 1;
        self.bytes += size(message);
        self.runs.entry(message.identity.run).or_default().offsets.insert(self.newest);
        self.kept.insert(self.newest, Kept { message: message.clone(), expires: now + self.limits.retention });
        Ok(self.newest)
    }

    /// Answers a question; whether that confirmed anything, and so made room, is said beside it.
    pub(crate) fn ask(&mut self, query: Query, batch: Batch, now: Instant) -> (Found, bool) {
        self.expire(now);
        let after = query.after.min(self.newest);
        let Some(run) = query.run else {
            let behind = self.kept.range(after + 1..).map(|(offset, kept)| (*offset, &kept.message));
            return (found(after, behind, batch), false);
        };
        let confirmed = self.confirm(run, after);
        let Some(known) = self.runs.get(&run) else { return (found(after, std::iter::empty(), batch), confirmed) };
        let behind = known.offsets.range(after + 1..);
        let behind = behind.filter_map(|offset| Some((*offset, &self.kept.get(offset)?.message)));
        let mut found = found(after, behind, batch);
        let more = known.open || known.offsets.range(found.last + 1..).next().is_some();
        found.deposit = Some(if more { Deposit::Open } else { Deposit::Over });
        (found, confirmed)
    }

    fn confirm(&mut self, run: RunId, through: u64) -> bool {
        let Some(known) = self.runs.get_mut(&run).filter(|known| known.taken_through < through) else { return false };
        let mut confirmed = false;
        for offset in known.offsets.range(known.taken_through + 1..=through) {
            if let Some(kept) = self.kept.get(offset) {
                self.taken.insert(*offset);
                self.taken_bytes += size(&kept.message);
                confirmed = true;
            }
        }
        known.taken_through = through;
        confirmed
    }

    /// How many of a run's messages its poller has not confirmed.
    pub(crate) fn untaken(&mut self, run: RunId, now: Instant) -> u64 {
        self.expire(now);
        self.runs.get(&run).map_or(0, |known| known.offsets.range(known.taken_through + 1..).count() as u64)
    }

    /// How many messages expired without anybody taking them since this was last asked.
    pub(crate) fn expired_unread(&mut self) -> u64 {
        std::mem::take(&mut self.expired_unread)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((offset, kept)) = self.kept.first_key_value()
            && kept.expires <= now
        {
            let offset = *offset;
            self.expired_unread += u64::from(!self.taken.contains(&offset));
            self.remove(offset);
        }
    }

    fn remove(&mut self, offset: u64) {
        let Some(Kept { message, .. }) = self.kept.remove(&offset) else { return };
        self.bytes -= size(&message);
        if self.taken.remove(&offset) {
            self.taken_bytes -= size(&message);
        }
        if let Some(known) = self.runs.get_mut(&message.identity.run) {
            known.offsets.remove(&offset);
        }
        self.forget(message.identity.run);
    }

    /// A run that is over and has nothing here costs nothing here.
    fn forget(&mut self, run: RunId) {
        if self.runs.get(&run).is_some_and(|known| !known.open && known.offsets.is_empty()) {
            self.runs.remove(&run);
        }
    }
}

fn found<'a>(after: u64, behind: impl Iterator<Item = (u64, &'a Message)>, batch: Batch) -> Found {
    let (mut messages, mut bytes): (Vec<(u64, Message)>, u64) = (Vec::new(), 0);
    let mut more = false;
    for (offset, message) in behind {
        bytes += size(message);
        more = !messages.is_empty() && (messages.len() >= batch.messages || bytes > batch.bytes);
        if more {
            break;
        }
        messages.push((offset, message.clone()));
    }
    Found { last: messages.last().map_or(after, |(offset, _)| *offset), messages, more, deposit: None }
}

#[cfg(test)]
impl Shelf {
    pub(super) fn weight(&self) -> (usize, u64) {
        (self.kept.len(), self.bytes)
    }

    pub(super) fn runs_known(&self) -> usize {
        self.runs.len()
    }
}
