//! The store itself: takes commits, writes them, and says what became of them. Single-threaded, without a clock.
//!
//! [`Store::turn`] does one step of everything that is due; how a step is written is in `commit`, `compaction` and
//! `load`, how a store is opened in `recovery`. Does not know threads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::StoreOptions;
use super::compaction::Compaction;
use super::disk::Disk;
use super::error::StoreError;
use super::journal::Journal;
use super::log::MessageLog;
use super::metrics::StoreMetrics;
use super::operation::{Log, Operation, Report, StoreState};
use super::plan::{Commit, cut};
use crate::identity::{CommitId, MessageId, QueueId};

/// How long removals may wait for a sync: a crash of the machine brings back what was removed in that time.
pub(super) const LAZY_SYNC_MILLISECONDS: u64 = 25;
/// Removals that may wait for a sync; they are kept in memory until then.
pub(super) const LAZY_SYNC_MAX_REMOVALS: usize = 256 * 1024;
/// How long after a failure it is tried again.
pub(super) const RETRY_MILLISECONDS: u64 = 1000;
/// How often the room on the file system is looked up, as others use it too.
const FREE_CHECK_MILLISECONDS: u64 = 1000;
/// It is also looked up whenever the store itself has grown by this part of what must stay free, but not for less than
/// [`FREE_CHECK_MIN_OCTETS`].
const FREE_CHECK_PARTS: u64 = 8;
/// So much costs far more to write than to look up what is free.
const FREE_CHECK_MIN_OCTETS: u64 = 1 << 20;

/// A store on a disk.
pub(crate) struct Store<D: Disk> {
    pub(super) disk: D,
    pub(super) options: StoreOptions,
    pub(super) metrics: Arc<StoreMetrics>,
    /// Where messages that are loaded are counted.
    pub(super) resident: Arc<AtomicUsize>,
    pub(super) journal: Journal<D>,
    pub(super) durable: MessageLog<D>,
    pub(super) overflow: MessageLog<D>,
    pub(super) compaction: Compaction,
    /// Handed over, not committed.
    pub(super) pending: VecDeque<Commit>,
    /// Removals that were written and not synced, and since when there are any.
    pub(super) unsynced: Vec<(QueueId, MessageId)>,
    pub(super) unsynced_since: Option<u64>,
    /// Removals that were committed and have to be written again.
    pub(super) carried: Vec<(QueueId, MessageId)>,
    /// No message handed over had a greater id.
    pub(super) last_message: u64,
    pub(super) failing: Option<Failing>,
    /// The bound on disk use was reached, and there is not clearly room again.
    at_bound: bool,
    /// The file system was nearly full, and there is not clearly room again.
    free_short: Option<u64>,
    /// When that was looked up last, and what the store took up then.
    free_checked: Option<(u64, u64)>,
    reported: StoreState,
}

/// Why nothing can be written, and when it is tried again.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) reason: Arc<str>,
    retry_at: u64,
}

/// The parts of a store that was just opened.
pub(super) struct Parts<D: Disk> {
    pub(super) disk: D,
    pub(super) options: StoreOptions,
    pub(super) metrics: Arc<StoreMetrics>,
    pub(super) journal: Journal<D>,
    pub(super) durable: MessageLog<D>,
    pub(super) overflow: MessageLog<D>,
    pub(super) last_message: u64,
}

impl<D: Disk> Store<D> {
    pub(super) fn of(parts: Parts<D>, resident: Arc<AtomicUsize>) -> Self {
        let Parts { disk, options, metrics, journal, durable, overflow, last_message } = parts;
        Self {
            disk,
            options,
            metrics,
            resident,
            journal,
            durable,
            overflow,
            compaction: Compaction::default(),
            pending: VecDeque::new(),
            unsynced: Vec::new(),
            unsynced_since: None,
            carried: Vec::new(),
            last_message,
            failing: None,
            at_bound: false,
            free_short: None,
            free_checked: None,
            reported: StoreState::Working,
        }
    }

    /// Takes what is to be stored; [`Self::turn`] does it.
    pub(crate) fn submit(&mut self, id: CommitId, operations: Vec<Operation>) {
        for operation in &operations {
            if let Operation::Put { id, .. } = operation {
                self.last_message = self.last_message.max(id.0);
            }
        }
        let mut parts = cut(operations);
        let last = parts.pop().unwrap_or_default();
        // Until the last part is done, all that is done is the commit before.
        let before = CommitId(id.0.saturating_sub(1));
        self.pending.extend(parts.into_iter().map(|part| Commit::new(before, part)));
        self.pending.push_back(Commit::new(id, last));
    }

    /// Does one step of what is due at `now`, in milliseconds from anywhere; when the next step is due, if nothing is
    /// handed over before.
    pub(crate) fn turn(&mut self, now: u64, reports: &mut Vec<Report>) -> Option<u64> {
        if self.failing.is_some() {
            self.remove_early();
        }
        let freed = self.unlink_dead();
        let due = self.failing.as_ref().is_none_or(|failing| freed || now >= failing.retry_at);
        if due && (self.has_to_write() || self.failing.is_some()) {
            self.attempt(now, reports, |store, reports| store.write(now, reports));
        }
        let overdue = self.unsynced.len() >= LAZY_SYNC_MAX_REMOVALS
            || self.unsynced_since.is_some_and(|since| now >= since.saturating_add(LAZY_SYNC_MILLISECONDS));
        if overdue && self.failing.is_none() {
            self.attempt(now, reports, |store, _| store.sync());
        }
        if self.failing.is_some() {
            self.remove_early();
        }
        self.unlink_dead();
        self.check_room(now);
        self.report_state(reports);
        self.count();
        self.next_turn(now)
    }

    /// Syncs what was only written, as [`Self::turn`] does after a while.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.durable.segments.sync()?;
        self.synced();
        Ok(())
    }

    /// Notes that everything written is synced.
    pub(super) fn synced(&mut self) {
        self.unsynced.clear();
        self.unsynced_since = None;
    }

    /// Whether no crash can bring back what was removed and committed.
    #[cfg(test)]
    pub(crate) fn removals_are_synced(&self) -> bool {
        self.unsynced.is_empty() && self.carried.is_empty()
    }

    fn attempt(
        &mut self,
        now: u64,
        reports: &mut Vec<Report>,
        step: impl FnOnce(&mut Self, &mut Vec<Report>) -> Result<(), StoreError>,
    ) {
        match step(self, reports) {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!("the store works again");
                }
            }
            Err(error) => {
                // What was written and not synced is void, if the log gave up its segment; writing it again if it did
                // not does no harm.
                self.carried.append(&mut self.unsynced);
                self.unsynced_since = None;
                let reason: Arc<str> = error.to_string().into();
                if self.failing.as_ref().is_none_or(|failing| failing.reason != reason) {
                    tracing::error!(%reason, "nothing can be stored; trying again every {RETRY_MILLISECONDS} ms");
                }
                self.failing = Some(Failing { reason, retry_at: now.saturating_add(RETRY_MILLISECONDS) });
            }
        }
    }

    fn has_to_write(&self) -> bool {
        !self.pending.is_empty() || !self.carried.is_empty() || self.wants_compaction()
    }

    /// While nothing can be written, lets removals count in memory, so that consumers who drain make room. Only those of
    /// commits that do nothing else: a message must not go before the one that takes its place is there.
    fn remove_early(&mut self) {
        for commit in self.pending.iter_mut().filter(|commit| !commit.removed_early && commit.only_removes()) {
            commit.removed_early = true;
            for operation in &commit.operations {
                match operation {
                    Operation::Remove { log: Log::Durable, id, queue } => self.durable.release(*id, *queue),
                    Operation::Remove { id, queue, .. } => self.overflow.release(*id, *queue),
                    Operation::Put { .. } | Operation::Topology(_) => {}
                }
            }
        }
    }

    /// Unlinks segments that nothing live stands in; whether that made room.
    fn unlink_dead(&mut self) -> bool {
        let mut freed = false;
        for segments in [&mut self.durable.segments, &mut self.overflow.segments] {
            match segments.unlink_dead() {
                Ok(any) => freed |= any,
                Err(error) => {
                    self.metrics.failures.add(1);
                    tracing::warn!(%error, "segment not removed, will be tried again");
                }
            }
        }
        freed
    }

    pub(super) fn disk_octets(&self) -> u64 {
        self.durable.segments.octets() + self.overflow.segments.octets() + self.journal.octets()
    }

    /// Whether less than a tenth of the room is left.
    pub(super) fn is_tight(&self) -> bool {
        self.at_bound || self.free_short.is_some() || self.disk_octets() >= nine_tenths(self.options.disk_max_octets)
    }

    /// Once full, it is not until there is clearly room again, so that publishers are not stopped and let go all the time.
    fn check_room(&mut self, now: u64) {
        let max = self.options.disk_max_octets;
        self.at_bound = self.disk_octets() >= if self.at_bound { nine_tenths(max) } else { max };
        let (min, used) = (self.options.free_min_octets, self.disk_octets());
        if let Some((at, used_then)) = self.free_checked
            && now < at.saturating_add(FREE_CHECK_MILLISECONDS)
            && used.saturating_sub(used_then) < (min / FREE_CHECK_PARTS).max(FREE_CHECK_MIN_OCTETS)
        {
            return;
        }
        self.free_checked = Some((now, used));
        let wanted = if self.free_short.is_some() { min.saturating_add(min / 10) } else { min };
        match self.disk.free_octets() {
            Ok(free) => self.free_short = (free < wanted).then_some(free),
            Err(error) => tracing::debug!(%error, "free room on the file system not known"),
        }
    }

    /// Why publishers should wait, if they should.
    fn full(&self) -> Option<Arc<str>> {
        let StoreOptions { disk_max_octets: max, free_min_octets: min, .. } = self.options;
        match self.free_short {
            _ if self.at_bound => Some(format!("{} octets of at most {max} are in use", self.disk_octets()).into()),
            Some(free) => {
                Some(format!("only {free} octets are free on the file system, at least {min} must be").into())
            }
            None => None,
        }
    }

    fn report_state(&mut self, reports: &mut Vec<Report>) {
        let state = match (&self.failing, self.full()) {
            (Some(failing), _) => StoreState::Failing { reason: Arc::clone(&failing.reason) },
            (None, Some(reason)) => StoreState::Full { reason },
            (None, None) => StoreState::Working,
        };
        // The figures in the reason change all the time; only the first are told.
        let same_full = matches!((&state, &self.reported), (StoreState::Full { .. }, StoreState::Full { .. }));
        if state != self.reported && !same_full {
            self.reported = state.clone();
            reports.push(Report::State(state));
        }
    }

    fn count(&self) {
        let logs = [&self.durable, &self.overflow];
        self.metrics.segments.set(logs.iter().map(|log| log.segments.segments().len() as u64).sum());
        self.metrics.disk_octets.set(self.disk_octets());
        self.metrics.live_octets.set(logs.iter().map(|log| log.segments.live_octets()).sum());
        self.metrics.live_messages.set(logs.iter().map(|log| log.index.messages()).sum());
    }

    fn next_turn(&self, now: u64) -> Option<u64> {
        if let Some(failing) = &self.failing {
            return Some(failing.retry_at);
        }
        if self.has_to_write() {
            return Some(now);
        }
        let lazy = self.unsynced_since.map(|since| since.saturating_add(LAZY_SYNC_MILLISECONDS));
        let room = self.free_short.map(|_| now.saturating_add(FREE_CHECK_MILLISECONDS));
        [lazy, room].into_iter().flatten().min()
    }
}

fn nine_tenths(of: u64) -> u64 {
    of - of / 10
}
