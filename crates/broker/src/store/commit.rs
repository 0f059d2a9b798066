//! Writing what was handed over: topology first, then the overflow log, then one synced batch of the durable log.
//!
//! Does not know what to do about an error: it leaves everything such that it can be tried again.

use super::core::Store;
use super::disk::Disk;
use super::error::StoreError;
use super::index::Location;
use super::log::BatchContent;
use super::newest::Newest;
use super::operation::Report;
use super::plan::Plan;
use crate::identity::{MessageId, QueueId};

impl<D: Disk> Store<D> {
    /// Commits as much as is written at once, and moves messages if that is due.
    pub(super) fn write(&mut self, now: u64, reports: &mut Vec<Report>) -> Result<(), StoreError> {
        let mut plan = Plan::new(&self.pending);
        self.write_topology(&plan)?;
        self.write_overflow(&plan)?;
        if let Err(error) = self.write_durable(&mut plan, now) {
            self.pending.iter_mut().take(plan.commits).for_each(|commit| commit.attempted = true);
            return Err(error);
        }
        if !plan.deleted.is_empty() {
            self.durable.drop_queues(|queue| plan.deleted.contains(&queue));
            self.overflow.drop_queues(|queue| plan.deleted.contains(&queue));
        }
        if let Some(last) = self.pending.drain(..plan.commits).next_back() {
            reports.push(Report::Committed(last.id));
        }
        Ok(())
    }

    fn write_topology(&mut self, plan: &Plan) -> Result<(), StoreError> {
        let written = if plan.changes_topology { self.journal.append(&plan.topology) } else { Ok(()) };
        for commit in self.pending.iter_mut().take(plan.commits) {
            commit.topology_known = true;
            commit.topology_done |= written.is_ok();
        }
        written
    }

    fn write_overflow(&mut self, plan: &Plan) -> Result<(), StoreError> {
        let puts = &plan.overflow.puts;
        if !puts.is_empty() {
            let content = BatchContent { puts, ..BatchContent::default() };
            let places = self.overflow.write(&content, self.last_message, |_| Ok(()))?;
            for (put, at) in puts.iter().zip(places) {
                self.overflow.insert(put.id, &put.queues, at);
            }
        }
        for (queue, id) in &plan.overflow.removals {
            self.overflow.release(*id, *queue);
        }
        for commit in self.pending.iter_mut().take(plan.commits) {
            commit.overflow_done = true;
        }
        Ok(())
    }

    fn write_durable(&mut self, plan: &mut Plan, now: u64) -> Result<(), StoreError> {
        // Moving needs room; while there is a failure, that is for what was handed over.
        let step = if self.failing.is_none() { self.compaction_step() } else { None };
        let (moved, cursor) = step.map_or((Vec::new(), None), |step| (step.moved, Some(step.next)));
        let planned = std::mem::take(&mut plan.durable.removals);
        let removals: Vec<(QueueId, MessageId)> = self.carried.iter().copied().chain(planned).collect();
        let puts = &plan.durable.puts;
        if !(moved.is_empty() && removals.is_empty() && puts.is_empty()) {
            let content = BatchContent { moved: &moved, puts, removals: &removals, end: None };
            let places = self.append(&content)?;
            if moved.is_empty() && puts.is_empty() {
                self.unsynced.extend(&removals);
                self.unsynced_since.get_or_insert(now);
            } else {
                self.durable.segments.sync()?;
                self.synced();
            }
            self.carried.clear();
            let mut places = places.into_iter();
            for (moved, at) in moved.iter().zip(places.by_ref()) {
                self.metrics.moved_octets.add(u64::from(at.octets));
                self.durable.insert(moved.id, &moved.queues, at);
            }
            for (put, at) in puts.iter().zip(places) {
                self.durable.insert(put.id, &put.queues, at);
            }
            for (queue, id) in &removals {
                self.durable.release(*id, *queue);
            }
        }
        if let Some(cursor) = cursor {
            self.compaction.advance(cursor);
        }
        Ok(())
    }

    /// Writes a batch to the durable log; before it, the journal knows the segment it will be in.
    pub(super) fn append(&mut self, content: &BatchContent<'_>) -> Result<Vec<Location>, StoreError> {
        let journal = &mut self.journal;
        self.durable.write(content, self.last_message, |number| journal.note(Newest::written(number)))
    }

    /// Writes and syncs everything, then says in the log that this was an orderly end: that exactly these messages were
    /// delivered before.
    ///
    /// # Errors
    /// [`StoreError::Unwritten`] when the last of it could not be written; what was committed is safe all the same.
    pub(crate) fn close(mut self, delivered: &[(QueueId, MessageId)]) -> Result<(), StoreError> {
        let finished = self.finish(delivered).or_else(|error| {
            // After a failed sync another file may do.
            tracing::warn!(%error, "the end was not written, trying once more");
            self.carried.append(&mut self.unsynced);
            self.finish(delivered)
        });
        finished.map_err(|error| StoreError::Unwritten { reason: error.to_string() })
    }

    /// Writes and syncs what was handed over, without saying that this was an orderly end.
    pub(crate) fn abandon(mut self) {
        let mut unheard = Vec::new();
        let mut write = || {
            while !self.pending.is_empty() {
                self.write(0, &mut unheard)?;
            }
            self.sync()
        };
        if let Err(error) = write() {
            tracing::error!(%error, "what was handed over last was not stored");
        }
    }

    fn finish(&mut self, delivered: &[(QueueId, MessageId)]) -> Result<(), StoreError> {
        let mut unheard = Vec::new();
        while !self.pending.is_empty() || !self.carried.is_empty() {
            self.write(0, &mut unheard)?;
        }
        let held = |(queue, id): &&(QueueId, MessageId)| {
            self.durable.index.get(*id).is_some_and(|(_, queues)| queues.contains(queue))
        };
        let marks: Vec<_> = delivered.iter().filter(held).copied().collect();
        let content = BatchContent { end: Some(&marks), ..BatchContent::default() };
        self.append(&content)?;
        self.durable.segments.sync()?;
        self.note_end();
        Ok(())
    }

    /// Notes in the journal how far the log goes, so that nothing can be missing there at the next start.
    fn note_end(&mut self) {
        let Some(last) = self.durable.segments.segments().back() else { return };
        let newest = Newest { end: Some(last.length), ..Newest::written(last.number) };
        // Without it this is an end as any other, and orderly all the same.
        if let Err(error) = self.journal.note(newest) {
            tracing::warn!(%error, "not noted where the log ends: should it be cut off there, that would not be noticed");
        }
    }
}
