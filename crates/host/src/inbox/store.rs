//! All runs of a node: finding them, the locks, how much room there is, and which run has to go when there
//! is none. It does not know what is in a record.
//!
//! Order of locks: a run that is being written to, then the table of runs, then a run that nobody writes to.
//! Who only reads a run never takes the table while holding it. So deleting a run, under the table, waits at
//! most for a reader, and never for a writer.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::BytesMut;
use crosstalk_contract::{RunId, identity::Message};
use crosstalk_measure::clock::{Clock, nanos};
use tokio::sync::watch;

use super::{
    InboxError, InboxLimits,
    book::Book,
    format,
    log::{Log, error},
    run::{Content, Kept, Pin, Run, Writing, lock},
};

const EXTENSION: &str = "inbox";
/// How long to wait for another process to let go of the directory: one that was killed takes a moment until it is
/// gone, and its successor may be there before.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two tries to lock the directory.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// All runs.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    limits: InboxLimits,
    clock: Clock,
    runs: Mutex<HashMap<RunId, Arc<Run>>>,
    /// The sum of all runs' `charge`.
    used: AtomicU64,
    /// Changes when a run comes in, for those who wait for one that has not begun.
    begun: watch::Sender<()>,
    /// Locked as long as this inbox is open; the system unlocks it when the process ends, however it does.
    _lock: File,
}

impl Store {
    pub(super) fn open(dir: PathBuf, limits: InboxLimits, clock: Clock) -> Result<Self, InboxError> {
        fs::create_dir_all(&dir).map_err(|source| error("create", &dir, source))?;
        let lock = locked(dir.join("inbox.lock"))?;
        let mut runs = HashMap::new();
        let mut used = 0;
        for entry in fs::read_dir(&dir).map_err(|source| error("list", &dir, source))? {
            let path = entry.map_err(|source| error("list", &dir, source))?.path();
            let Some(id) = run_of(&path) else { continue };
            let metadata = fs::metadata(&path).map_err(|source| error("look at", &path, source))?;
            let age = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            used += metadata.len();
            runs.insert(id, Arc::new(Run::new(id, path, Some((metadata.len(), age.map_or(0, nanos))))));
        }
        let (runs, used, begun) = (Mutex::new(runs), AtomicU64::new(used), watch::Sender::new(()));
        Ok(Self { dir, limits, clock, runs, used, begun, _lock: lock })
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Notes an arrival; the names must be within their bounds.
    pub(super) fn writing(
        &self,
        message: &Message,
        paradigm: &str,
        receiver: &str,
        at_ns: u64,
    ) -> Result<Writing, InboxError> {
        // Made before anything is locked: a large one takes a while to copy and to sum up.
        let record = format::received(receiver, at_ns, message)?;
        let pin = self.pinned(message.identity.run, record.len() as u64)?;
        let copy = self.note_arrival(&pin, message, (paradigm, receiver, at_ns), record)?;
        Ok(Writing::new(pin, self.clock, receiver, message.identity.seq, copy))
    }

    fn note_arrival(
        &self,
        run: &Run,
        message: &Message,
        (paradigm, receiver, at_ns): (&str, &str, u64),
        mut record: BytesMut,
    ) -> Result<u64, InboxError> {
        let (seq, of) = (message.identity.seq, message.identity.of);
        let to_come = format::processed_len(receiver);
        let mut content = lock(&run.content);
        self.read_back(run, &mut content)?;
        let copy = match &mut content.kept {
            Some(Kept { book, .. }) if book.paradigm() != paradigm => {
                let (known, got) = (book.paradigm().to_owned(), paradigm.to_owned());
                return Err(InboxError::OtherParadigm { run: run.id, known, got });
            }
            Some(Kept { log, book }) => match book.known(receiver, seq) {
                Some((copies, _)) => {
                    record = format::copy(receiver, at_ns, seq);
                    self.charged(run, record.len() as u64, || log.append(&record))?;
                    book.copied(receiver, seq, at_ns);
                    copies + 1
                }
                None => {
                    book.has_room(receiver)?;
                    let place = self.charged(run, record.len() as u64 + to_come, || log.append(&record))?;
                    book.arrived(receiver, seq, of, at_ns, place);
                    1
                }
            },
            none => {
                // One write for header and record: either the run is there with a message, or not at all.
                let mut beginning = format::header(run.id, paradigm, of);
                let place = beginning.len() as u64;
                beginning.extend_from_slice(&record);
                let create = || Log::create(&run.path, &beginning);
                let log = self.charged(run, beginning.len() as u64 + to_come, create)?;
                let mut book = Book::new(paradigm.to_owned(), of);
                book.arrived(receiver, seq, of, at_ns, place);
                *none = Some(Kept { log, book });
                1
            }
        };
        if let Some(kept) = &mut content.kept {
            kept.book.begins_work(receiver);
        }
        run.last_ns.fetch_max(at_ns, Ordering::Relaxed);
        Ok(copy)
    }

    /// Does something with what is known of a run; `None` when nothing has arrived.
    pub(super) fn read<T>(&self, id: RunId, f: impl FnOnce(&Log, &Book) -> T) -> Result<Option<T>, InboxError> {
        let Some(run) = self.find(id) else { return Ok(None) };
        let mut content = lock(&run.content);
        self.read_back(&run, &mut content)?;
        let kept = content.kept.as_ref().filter(|kept| !kept.book.is_empty());
        Ok(kept.map(|kept| f(&kept.log, &kept.book)))
    }

    pub(super) fn ids(&self) -> Vec<RunId> {
        lock(&self.runs).keys().copied().collect()
    }

    /// Ends when a run has so many processed messages, or cannot be read.
    pub(super) async fn until_processed(&self, id: RunId, at_least: u64) {
        // Before the first look, so that a run that comes in behind it is seen.
        let mut begun = self.begun.subscribe();
        if at_least == 0 {
            return;
        }
        loop {
            match self.processed(id) {
                Err(_) => return,
                // An error means that the run was deleted; it may come again.
                Ok(Some(mut processed)) => {
                    if processed.wait_for(|processed| *processed >= at_least).await.is_ok() {
                        return;
                    }
                }
                Ok(None) => {
                    if begun.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn processed(&self, id: RunId) -> Result<Option<watch::Receiver<u64>>, InboxError> {
        let Some(run) = self.find(id) else { return Ok(None) };
        self.read_back(&run, &mut lock(&run.content))?;
        Ok(Some(run.processed.subscribe()))
    }

    fn find(&self, id: RunId) -> Option<Arc<Run>> {
        lock(&self.runs).get(&id).cloned()
    }

    /// Reads a file of an earlier process, the first time that its run is touched.
    fn read_back(&self, run: &Run, content: &mut Content) -> Result<(), InboxError> {
        if !content.unread {
            return Ok(());
        }
        let mut charge = 0;
        if let Some((log, book)) = Log::read_back(&run.path, run.id)? {
            charge = log.len() + book.bytes_to_come();
            run.processed.send_replace(book.processed());
            run.last_ns.store(book.last_ns(), Ordering::Relaxed);
            content.kept = Some(Kept { log, book });
        }
        content.unread = false;
        self.used.fetch_add(charge, Ordering::AcqRel);
        self.used.fetch_sub(run.charge.swap(charge, Ordering::AcqRel), Ordering::AcqRel);
        Ok(())
    }

    /// Finds or adds a run, which needs so many bytes at least, and keeps it from being deleted.
    fn pinned(&self, id: RunId, needed: u64) -> Result<Pin, InboxError> {
        let mut runs = lock(&self.runs);
        if let Some(run) = runs.get(&id) {
            return Ok(Pin::new(run));
        }
        while runs.len() >= self.limits.runs_max {
            let oldest = idle(&runs).into_iter().next().ok_or_else(|| self.full(needed))?;
            self.delete(&mut runs, &oldest)?;
        }
        // A moment that is rare enough, and the one at which earlier runs are probably over.
        for run in idle(&runs) {
            if let Ok(mut content) = run.content.try_lock()
                && let Some(kept) = &mut content.kept
            {
                kept.log.close();
            }
        }
        let run = Arc::new(Run::new(id, self.dir.join(id.to_string()).with_extension(EXTENSION), None));
        let pin = Pin::new(&run);
        runs.insert(id, run);
        drop(runs);
        self.begun.send_replace(());
        Ok(pin)
    }

    /// Does a write for which there is room, or makes room first.
    fn charged<T>(
        &self,
        run: &Run,
        bytes: u64,
        write: impl FnOnce() -> Result<T, InboxError>,
    ) -> Result<T, InboxError> {
        if !self.take(bytes) {
            self.make_room(bytes)?;
        }
        run.charge.fetch_add(bytes, Ordering::AcqRel);
        write().inspect_err(|_| {
            run.charge.fetch_sub(bytes, Ordering::AcqRel);
            self.used.fetch_sub(bytes, Ordering::AcqRel);
        })
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limits.bytes_max);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    /// Takes the bytes after deleting as many of the oldest runs as needed; none if that would not do.
    fn make_room(&self, bytes: u64) -> Result<(), InboxError> {
        let mut runs = lock(&self.runs);
        let idle = idle(&runs);
        let gain: u64 = idle.iter().map(|run| run.charge.load(Ordering::Acquire)).sum();
        let least = self.used.load(Ordering::Acquire).saturating_sub(gain);
        if least.saturating_add(bytes) > self.limits.bytes_max {
            return Err(self.full(bytes));
        }
        let mut idle = idle.into_iter();
        // Others take room meanwhile, without the table's lock: it may end up too little after all.
        while !self.take(bytes) {
            let oldest = idle.next().ok_or_else(|| self.full(bytes))?;
            self.delete(&mut runs, &oldest)?;
        }
        Ok(())
    }

    /// Deletes a run that nobody writes to, and its file while the table is held: a new run of the same name
    /// has the same file.
    fn delete(&self, runs: &mut HashMap<RunId, Arc<Run>>, run: &Run) -> Result<(), InboxError> {
        let mut content = lock(&run.content);
        match fs::remove_file(&run.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(error("delete", &run.path, source));
            }
            _ => {}
        }
        *content = Content { unread: false, kept: None };
        let bytes = run.charge.swap(0, Ordering::AcqRel);
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        runs.remove(&run.id);
        tracing::info!(run = %run.id, bytes, "deleted the oldest run to make room in the inbox");
        Ok(())
    }

    fn full(&self, needed: u64) -> InboxError {
        InboxError::Full { needed, bytes_max: self.limits.bytes_max, runs_max: self.limits.runs_max }
    }
}

/// Runs that nobody writes to, the one written to longest ago first; so they stay while the table is held.
fn idle(runs: &HashMap<RunId, Arc<Run>>) -> Vec<Arc<Run>> {
    let mut idle: Vec<Arc<Run>> =
        runs.values().filter(|run| run.writers.load(Ordering::Acquire) == 0).cloned().collect();
    idle.sort_by_key(|run| (run.last_ns.load(Ordering::Relaxed), run.id));
    idle
}

fn run_of(path: &Path) -> Option<RunId> {
    let name = path.file_name()?.to_str()?;
    let run: RunId = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok()?;
    // A name in capitals would be another file than the one that is written for its run.
    name.starts_with(&run.to_string()).then_some(run)
}

fn locked(path: PathBuf) -> Result<File, InboxError> {
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| error("open", &path, source))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(fs::TryLockError::WouldBlock) => return Err(InboxError::InUse { path }),
            Err(fs::TryLockError::Error(source)) => return Err(error("lock", &path, source)),
        }
    }
}
