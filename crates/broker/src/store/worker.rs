//! The thread the store runs on, and the handle to it.
//!
//! Takes everything that waits in its inbox and lets the store write it at once: one sync serves all who waited.
//! The inbox has no bound of its own: the engine bounds what is not committed. Does not know what is stored.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::StoreOptions;
use super::core::Store;
use super::disk::{Disk, RealDisk};
use super::error::StoreError;
use super::gathering::{GATHERING_TIME, Gathering};
use super::metrics::StoreMetrics;
use super::operation::{Log, Operation, Recovered, Report};
use crate::identity::{CommitId, MessageId, QueueId};

/// Requests that are taken from the inbox at once, so that a flood of them cannot keep what was taken from being written.
const TAKEN_MAX: usize = 64 * 1024;

enum Request {
    Submit(CommitId, Vec<Operation>),
    Load(QueueId, Vec<(Log, MessageId)>),
    Close(Delivered, Answer),
}

/// What was delivered before an orderly end.
type Delivered = Vec<(QueueId, MessageId)>;
/// Who waits for that end.
type Answer = Sender<Result<(), StoreError>>;

/// A running store. When it is dropped without [`Self::close`], what was handed over is still written, but not said to
/// be an orderly end.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    inbox: Sender<Request>,
    thread: JoinHandle<()>,
    metrics: Arc<StoreMetrics>,
}

impl StoreHandle {
    /// Opens the store in a directory and starts its thread. `report` is called on that thread and must not block;
    /// messages that are loaded are counted in `resident`.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(crate) fn start(
        directory: &Path,
        options: StoreOptions,
        resident: Arc<AtomicUsize>,
        report: impl Fn(Report) + Send + 'static,
    ) -> Result<(Self, Recovered), StoreError> {
        create_root(directory)?;
        let lock = lock(directory)?;
        let metrics = Arc::new(StoreMetrics::default());
        let salt = RandomState::new().hash_one(directory);
        let disk = RealDisk::new(directory);
        let (store, recovered) = Store::open(disk, options, salt, resident, Arc::clone(&metrics))?;
        let (inbox, requests) = channel();
        let run = move || {
            run(store, &requests, &report);
            drop(lock);
        };
        let spawned = std::thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = spawned.map_err(StoreError::io("start a thread for", directory))?;
        Ok((Self { inbox, thread, metrics }, recovered))
    }

    /// Hands over what is to be stored; [`Report::Committed`] follows.
    pub(crate) fn submit(&self, commit: CommitId, operations: Vec<Operation>) {
        self.send(Request::Submit(commit, operations));
    }

    /// Asks for messages; [`Report::Loaded`] follows.
    pub(crate) fn load(&self, queue: QueueId, messages: Vec<(Log, MessageId)>) {
        self.send(Request::Load(queue, messages));
    }

    /// What the store counts.
    pub(crate) fn metrics(&self) -> &Arc<StoreMetrics> {
        &self.metrics
    }

    /// Writes everything and marks these messages as delivered before. Blocks until that is done.
    ///
    /// # Errors
    /// [`StoreError::Unwritten`] or [`StoreError::Gone`].
    pub(crate) fn close(self, delivered: Delivered) -> Result<(), StoreError> {
        let (answer, closed) = channel();
        self.send(Request::Close(delivered, answer));
        let result = closed.recv().unwrap_or(Err(StoreError::Gone));
        // The lock on the directory goes with the thread.
        self.thread.join().map_err(|_| StoreError::Gone)?;
        result
    }

    fn send(&self, request: Request) {
        if self.inbox.send(request).is_err() {
            tracing::error!("{}", StoreError::Gone);
        }
    }
}

fn run<D: Disk>(mut store: Store<D>, requests: &Receiver<Request>, report: &impl Fn(Report)) {
    let start = Instant::now();
    let now = || start.elapsed().as_millis() as u64;
    let mut reports = Vec::new();
    let mut gathering = Gathering::default();
    let mut next = store.turn(now(), &mut reports);
    loop {
        let mut taken = Taken::default();
        match next {
            Some(at) => match requests.recv_timeout(Duration::from_millis(at.saturating_sub(now()))) {
                Ok(request) => taken.take(request, &mut store),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            },
            None => match requests.recv() {
                Ok(request) => taken.take(request, &mut store),
                Err(_) => break,
            },
        }
        taken.take_all(requests, &mut store);
        if taken.only_commits() && gathering.is_due(taken.messages) {
            let before = taken.messages;
            std::thread::sleep(GATHERING_TIME);
            taken.take_all(requests, &mut store);
            gathering.waited_for(taken.messages - before);
        }
        if let Some((delivered, answer)) = taken.close {
            // Nobody may be left to hear it.
            let _ = answer.send(store.close(&delivered));
            return;
        }
        gathering.synced(taken.messages);
        next = store.turn(now(), &mut reports);
        reports.drain(..).for_each(report);
        for (queue, messages) in taken.loads {
            report(store.load(queue, &messages));
        }
    }
    store.abandon();
}

/// What was taken from the inbox for one turn of the store.
#[derive(Default)]
struct Taken {
    requests: usize,
    /// Durable messages to be written.
    messages: usize,
    loads: Vec<(QueueId, Vec<(Log, MessageId)>)>,
    /// With it nothing more is taken.
    close: Option<(Delivered, Answer)>,
}

impl Taken {
    fn take<D: Disk>(&mut self, request: Request, store: &mut Store<D>) {
        self.requests += 1;
        match request {
            Request::Submit(commit, operations) => {
                let durable = |operation: &&Operation| matches!(operation, Operation::Put { log: Log::Durable, .. });
                self.messages += operations.iter().filter(durable).count();
                store.submit(commit, operations);
            }
            Request::Load(queue, messages) => self.loads.push((queue, messages)),
            Request::Close(delivered, answer) => self.close = Some((delivered, answer)),
        }
    }

    fn take_all<D: Disk>(&mut self, requests: &Receiver<Request>, store: &mut Store<D>) {
        while self.close.is_none()
            && self.requests < TAKEN_MAX
            && let Ok(request) = requests.try_recv()
        {
            self.take(request, store);
        }
    }

    /// Whether nobody waits for anything but commits.
    fn only_commits(&self) -> bool {
        self.loads.is_empty() && self.close.is_none()
    }
}

fn create_root(directory: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // So that a new data directory survives a crash. Who may use the directory need not be able to read its parent.
    if let Err(error) = File::open(parent).and_then(|parent| parent.sync_all()) {
        tracing::debug!(%error, parent = %parent.display(), "parent of the data directory not synced");
    }
    Ok(())
}

/// Takes the directory for this process until the file is closed.
pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let failed = |action| StoreError::io(action, &path);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The id is for people: without it the answer is the same.
            let _ = file.read_to_string(&mut holder);
            return Err(StoreError::Locked { directory: directory.to_owned(), holder: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    // On a full disk the lock holds all the same.
    if let Err(error) = written {
        tracing::debug!(%error, "process id not written to the lock");
    }
    Ok(file)
}
