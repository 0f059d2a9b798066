//! The one task that owns the engine: takes what connections and the store send, in batches, tells it the time, and
//! hands the effects out.
//!
//! Makes no decisions; does not know the wire or files.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use super::outbox::Outbox;
use crate::engine::{Client, Command, ConnectionId, Effect, Engine, QueueSample, Snapshot};
use crate::identity::{CommitId, Timestamp};
use crate::options::Options;
use crate::store::{Report, StoreError, StoreHandle, StoreMetrics, StoreOptions, StoreState};

/// Inputs taken at one wake-up; their effects go out together.
const INPUTS_PER_BATCH: usize = 64;

/// What reaches the engine's task.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client has opened a connection; `outbox` is where things for it go.
    Connect { connection: ConnectionId, client: Client, outbox: Outbox },
    /// Commands of one connection, in order.
    Commands(Vec<Command>),
    /// Someone wants to look.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Someone wants to know what the queues did so far.
    QueueSamples(oneshot::Sender<Vec<QueueSample>>),
    /// The broker ends.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// The engine and the ways out of it.
#[derive(Debug)]
pub(super) struct Driver {
    engine: Engine,
    clock: Clock,
    outboxes: HashMap<ConnectionId, Outbox>,
    /// Outboxes with something for the next flush.
    dirty: Vec<ConnectionId>,
    /// Outboxes that keep something back until a commit; may name one more than once.
    waiting: Vec<ConnectionId>,
    committed: CommitId,
    hold_publishers: watch::Sender<bool>,
    store: Option<StoreHandle>,
    tell_trouble: watch::Sender<Option<Arc<str>>>,
}

impl Driver {
    /// A driver of an engine without a store.
    pub(super) fn new(
        options: &Options,
        hold_publishers: watch::Sender<bool>,
        tell_trouble: watch::Sender<Option<Arc<str>>>,
    ) -> Self {
        // The standard library's hasher keys are the one source of randomness at hand without a dependency.
        let seed = RandomState::new().hash_one(std::process::id());
        let engine = Engine::new(options.limits.clone(), &options.vhosts, seed, options.data.is_some());
        Self {
            engine,
            clock: Clock::new(),
            outboxes: HashMap::new(),
            dirty: Vec::new(),
            waiting: Vec::new(),
            committed: CommitId::default(),
            hold_publishers,
            store: None,
            tell_trouble,
        }
    }

    /// Opens the store and takes over what is in it. From then on it says what it does through `report`.
    pub(super) async fn open_store(
        &mut self,
        directory: PathBuf,
        options: StoreOptions,
        report: mpsc::UnboundedSender<Report>,
    ) -> Result<Arc<StoreMetrics>, StoreError> {
        let resident = Arc::clone(self.engine.resident());
        let opening = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            // The engine outlives the store; if it has ended after all, nobody waits for the report.
            let opened = StoreHandle::start(&directory, options, resident, move |said| drop(report.send(said)))?;
            tracing::info!(directory = %directory.display(), took = ?started.elapsed(), "store opened");
            Ok(opened)
        });
        let (store, recovered) = opening.await.unwrap_or(Err(StoreError::Gone))?;
        let metrics = Arc::clone(store.metrics());
        self.store = Some(store);
        self.engine.advance(self.clock.now());
        self.engine.restore(recovered);
        self.hand_out();
        Ok(metrics)
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut reports: mpsc::UnboundedReceiver<Report>) {
        let mut batch = Vec::with_capacity(INPUTS_PER_BATCH);
        let mut reported = Vec::with_capacity(INPUTS_PER_BATCH);
        loop {
            let deadline = self.engine.next_deadline().map(|at| self.clock.instant(at));
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                count = reports.recv_many(&mut reported, INPUTS_PER_BATCH), if self.store.is_some() => {
                    if count == 0 {
                        self.store_is_gone(&mut reported);
                    }
                }
                count = inputs.recv_many(&mut batch, INPUTS_PER_BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                () = timer => {}
            }
            self.engine.advance(self.clock.now());
            reported.drain(..).for_each(|report| self.hear(report));
            let mut closing = None;
            for input in batch.drain(..) {
                match input {
                    Input::Close(reply) => closing = Some(reply),
                    input => self.take(input),
                }
            }
            self.release();
            self.hand_out();
            if let Some(reply) = closing {
                return self.close(reply).await;
            }
        }
    }

    /// A store that ended by itself has a defect: nothing more can be stored until the broker is started again.
    fn store_is_gone(&mut self, reported: &mut Vec<Report>) {
        self.store = None;
        reported.push(Report::State(StoreState::Failing { reason: StoreError::Gone.to_string().into() }));
    }

    fn hear(&mut self, report: Report) {
        match &report {
            Report::Committed(commit) => self.committed = *commit,
            Report::State(StoreState::Working) => drop(self.tell_trouble.send_replace(None)),
            Report::State(StoreState::Full { reason } | StoreState::Failing { reason }) => {
                self.tell_trouble.send_replace(Some(Arc::clone(reason)));
            }
            Report::Loaded { .. } => {}
        }
        self.engine.handle(Command::Store(report));
    }

    /// Closes what is still connected, and the store behind it.
    async fn close(mut self, reply: oneshot::Sender<Result<(), StoreError>>) {
        self.engine.handle(Command::Shutdown);
        self.hand_out();
        let delivered = self.engine.delivered_before();
        let closed = match self.store.take() {
            None => Ok(()),
            Some(store) => {
                tokio::task::spawn_blocking(move || store.close(delivered)).await.unwrap_or(Err(StoreError::Gone))
            }
        };
        // Whoever asked may have given up meanwhile.
        drop(reply.send(closed));
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Commands(commands) => commands.into_iter().for_each(|command| self.engine.handle(command)),
            Input::Connect { connection, client, outbox } => {
                self.outboxes.insert(connection, outbox);
                self.engine.handle(Command::Connect { connection, client });
            }
            // Whoever asked may have given up meanwhile.
            Input::Snapshot(reply) => drop(reply.send(self.engine.snapshot())),
            Input::QueueSamples(reply) => drop(reply.send(self.engine.queue_samples())),
            Input::Close(_) => {}
        }
    }

    /// Lets out what waited for a commit that is done.
    fn release(&mut self) {
        for connection in std::mem::take(&mut self.waiting) {
            let Some(outbox) = self.outboxes.get_mut(&connection) else { continue };
            if outbox.release(self.committed) {
                self.dirty.push(connection);
            }
            if outbox.keeps_back() {
                self.waiting.push(connection);
            }
            if outbox.may_finish()
                && let Some(outbox) = self.outboxes.remove(&connection)
            {
                outbox.finish();
            }
        }
    }

    fn hand_out(&mut self) {
        for effect in self.engine.finish_batch() {
            match effect {
                Effect::Send { connection, outbound, after } => {
                    let Some(outbox) = self.outboxes.get_mut(&connection) else { continue };
                    let wait = after.is_some_and(|commit| commit > self.committed) || outbox.keeps_back();
                    if wait {
                        outbox.keep_back(after, outbound);
                        self.waiting.push(connection);
                    } else if outbox.push(outbound) {
                        self.dirty.push(connection);
                    }
                }
                Effect::Finish { connection } => {
                    if self.outboxes.get_mut(&connection).is_some_and(Outbox::finish_soon)
                        && let Some(outbox) = self.outboxes.remove(&connection)
                    {
                        outbox.finish();
                    }
                }
                Effect::HoldPublishers(hold) => drop(self.hold_publishers.send_replace(hold)),
                Effect::Commit { commit, operations } => {
                    if let Some(store) = &self.store {
                        store.submit(commit, operations);
                    }
                }
                Effect::Load { queue, wanted } => {
                    if let Some(store) = &self.store {
                        store.load(queue, wanted);
                    }
                }
            }
        }
        for connection in self.dirty.drain(..) {
            if let Some(outbox) = self.outboxes.get_mut(&connection) {
                outbox.flush();
            }
        }
    }
}

/// Time as the engine wants it: what the calendar said at the start, and steady progress since.
#[derive(Debug)]
struct Clock {
    started: Instant,
    started_at: Duration,
}

impl Clock {
    fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { started: Instant::now(), started_at: since_1970.unwrap_or_default() }
    }

    fn now(&self) -> Timestamp {
        let now = self.started_at + self.started.elapsed();
        Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// When the engine's clock shows this time.
    fn instant(&self, at: Timestamp) -> Instant {
        self.started + Duration::from_millis(at.0).saturating_sub(self.started_at)
    }
}
