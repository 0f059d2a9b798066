//! What is on its way from the engine to one connection, and how much that is.
//!
//! The list itself takes everything, so that the engine never waits for a client; its length is bounded from
//! both ends: the engine stops delivering above one bound, and the connection stops reading above another. What must
//! wait for a commit is kept back here, with everything after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::Outbound;
use crate::identity::CommitId;

/// How full an outbox is, and whether the engine has finished with it.
#[derive(Debug, Default)]
pub(crate) struct OutboxGauge {
    unsent: AtomicUsize,
    written: Notify,
    finished: CancellationToken,
}

impl OutboxGauge {
    /// Cancelled when the engine sends nothing more.
    pub(crate) fn finished(&self) -> &CancellationToken {
        &self.finished
    }

    /// Waits until no more than `bound` octets, as [`Outbound::cost`] counts, are unsent.
    pub(crate) async fn below(&self, bound: usize) {
        loop {
            let written = self.written.notified();
            if self.unsent.load(Ordering::Acquire) <= bound {
                return;
            }
            written.await;
        }
    }
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: mpsc::UnboundedSender<Vec<Outbound>>,
    gauge: Arc<OutboxGauge>,
    /// Collected for the next [`Self::flush`].
    pending: Vec<Outbound>,
    /// Kept back, each until a commit is done and what stands before it is out.
    kept_back: VecDeque<(CommitId, Outbound)>,
    /// Whether it ends once nothing is kept back any more.
    finishing: bool,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct OutboxReceiver {
    receiver: mpsc::UnboundedReceiver<Vec<Outbound>>,
    gauge: Arc<OutboxGauge>,
}

impl Outbox {
    /// Both ends, and the gauge for the reader.
    pub(crate) fn new() -> (Self, OutboxReceiver, Arc<OutboxGauge>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let gauge = Arc::new(OutboxGauge::default());
        let outbox = Self {
            sender,
            gauge: Arc::clone(&gauge),
            pending: Vec::new(),
            kept_back: VecDeque::new(),
            finishing: false,
        };
        (outbox, OutboxReceiver { receiver, gauge: Arc::clone(&gauge) }, gauge)
    }

    /// Adds to the next batch; `true` if it is the first of it.
    pub(crate) fn push(&mut self, outbound: Outbound) -> bool {
        self.pending.push(outbound);
        self.pending.len() == 1
    }

    /// Keeps something back until a commit is done; with `None`, only behind what is kept back already.
    pub(crate) fn keep_back(&mut self, after: Option<CommitId>, outbound: Outbound) {
        self.gauge.unsent.fetch_add(outbound.cost(), Ordering::AcqRel);
        self.kept_back.push_back((after.unwrap_or_default(), outbound));
    }

    /// Whether something is kept back.
    pub(crate) fn keeps_back(&self) -> bool {
        !self.kept_back.is_empty()
    }

    /// Adds what this commit allows to the next batch; `true` if that is the first of it.
    pub(crate) fn release(&mut self, committed: CommitId) -> bool {
        let was_empty = self.pending.is_empty();
        while let Some((_, outbound)) = self.kept_back.pop_front_if(|(after, _)| *after <= committed) {
            self.gauge.unsent.fetch_sub(outbound.cost(), Ordering::AcqRel);
            self.pending.push(outbound);
        }
        was_empty && !self.pending.is_empty()
    }

    /// Ends it as soon as nothing is kept back; `true` if that is now.
    pub(crate) fn finish_soon(&mut self) -> bool {
        self.finishing = true;
        self.kept_back.is_empty()
    }

    /// Whether it was to end and keeps nothing back any more.
    pub(crate) fn may_finish(&self) -> bool {
        self.finishing && self.kept_back.is_empty()
    }

    /// Hands the batch to the writer.
    pub(crate) fn flush(&mut self) {
        let batch = std::mem::take(&mut self.pending);
        if batch.is_empty() {
            return;
        }
        let cost: usize = batch.iter().map(Outbound::cost).sum();
        self.gauge.unsent.fetch_add(cost, Ordering::AcqRel);
        // A writer that is gone leaves nobody to tell; its connection is about to be disconnected.
        drop(self.sender.send(batch));
    }

    /// Hands over the last batch and closes.
    pub(crate) fn finish(mut self) {
        self.flush();
        self.gauge.finished.cancel();
    }
}

impl OutboxReceiver {
    /// The next batch; `None` after the last.
    pub(crate) async fn recv(&mut self) -> Option<Vec<Outbound>> {
        self.receiver.recv().await
    }

    /// The next batch if it is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Vec<Outbound>> {
        self.receiver.try_recv().ok()
    }

    /// Notes that `cost` octets have been written.
    pub(crate) fn written(&self, cost: usize) {
        self.gauge.unsent.fetch_sub(cost, Ordering::AcqRel);
        self.gauge.written.notify_one();
    }
}
