//! The runs that this node started, each with its records, bounded in number. It does not know how records come
//! about.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crosstalk_contract::{
    RunId,
    record::{ReceiverReport, SentRecord},
    report::{RunReport, RunState},
};
use crosstalk_measure::{Evidence, SentLedger, report};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Conclusion, Plan, RunOptions};
use crate::http::Refusal;

/// The runs of one node; cheap to clone.
#[derive(Clone)]
pub struct Runs {
    pub(super) options: RunOptions,
    at_once: Arc<Semaphore>,
    entries: Arc<Mutex<VecDeque<Arc<Entry>>>>,
}

/// One run.
pub(crate) struct Entry {
    pub(super) id: RunId,
    pub(super) plan: Plan,
    pub(super) messages: u64,
    pub(super) load: String,
    pub(super) ledger: SentLedger,
    progress: Mutex<Progress>,
}

struct Progress {
    state: RunState,
    conclusion: Conclusion,
    received: Option<Vec<ReceiverReport>>,
    kept: Option<u64>,
    failure: Option<Refusal>,
}

impl Runs {
    pub(crate) fn new(options: RunOptions) -> Self {
        let at_once = Arc::new(Semaphore::new(options.at_once));
        Self { options, at_once, entries: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(
        &self,
        id: RunId,
        plan: Plan,
        messages: u64,
        load: String,
    ) -> Result<(Arc<Entry>, OwnedSemaphorePermit), Refusal> {
        let permit = Arc::clone(&self.at_once).try_acquire_owned().map_err(|_| {
            let most = self.options.at_once;
            Refusal::unavailable(format!("{most} runs are under way, the most that run.at_once allows; try again soon"))
        })?;
        let mut entries = self.lock();
        if entries.iter().any(|entry| entry.id == id) {
            let detail = format!("run {id} exists already; leave out run to get a new id");
            return Err(Refusal::new(axum::http::StatusCode::CONFLICT, detail));
        }
        let progress = Mutex::new(Progress {
            state: RunState::Sending,
            conclusion: Conclusion::default(),
            received: None,
            kept: Some(0),
            failure: None,
        });
        let entry = Arc::new(Entry { id, plan, messages, load, ledger: SentLedger::default(), progress });
        entries.push_front(Arc::clone(&entry));
        self.forget(&mut entries);
        Ok((entry, permit))
    }

    /// Drops the oldest finished runs until the bounds hold. Runs under way are bounded by `run.at_once`.
    fn forget(&self, entries: &mut VecDeque<Arc<Entry>>) {
        let mut records: usize = entries.iter().map(|entry| entry.ledger.len()).sum();
        let mut index = entries.len();
        while index > 1 && (entries.len() > self.options.remembered || records > self.options.records_max) {
            index -= 1;
            if entries[index].state().is_final() {
                records -= entries[index].ledger.len();
                entries.remove(index);
            }
        }
    }

    pub(super) fn get(&self, id: RunId) -> Option<Arc<Entry>> {
        self.lock().iter().find(|entry| entry.id == id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().iter().cloned().collect()
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> RunState {
        self.lock().state
    }

    pub(super) fn set_state(&self, state: RunState) {
        self.lock().state = state;
    }

    pub(super) fn conclude(&self, conclusion: Conclusion) {
        self.lock().conclusion = conclusion;
    }

    pub(super) fn fail(&self, reason: Refusal) {
        let mut progress = self.lock();
        progress.state = RunState::Failed;
        progress.failure = Some(reason);
    }

    pub(super) fn failure(&self) -> Option<Refusal> {
        self.lock().failure.clone()
    }

    pub(super) fn settled(&self, received: Option<Vec<ReceiverReport>>, kept: Option<u64>) {
        let mut progress = self.lock();
        progress.received = received;
        progress.kept = kept;
    }

    pub(super) fn received(&self) -> Vec<ReceiverReport> {
        self.lock().received.clone().unwrap_or_default()
    }

    pub(super) fn sent(&self) -> Vec<SentRecord> {
        let elsewhere = self.lock().conclusion.sent.clone();
        elsewhere.unwrap_or_else(|| self.ledger.snapshot())
    }

    /// How many messages were sent, without copying their records.
    pub(super) fn sent_count(&self) -> u64 {
        let elsewhere = self.lock().conclusion.sent.as_ref().map(Vec::len);
        elsewhere.unwrap_or_else(|| self.ledger.len()) as u64
    }

    pub(super) fn report(&self, sender: &str) -> RunReport {
        let sent = self.sent();
        let progress = self.lock();
        report(Evidence {
            run: self.id,
            paradigm: self.plan.paradigm,
            over: &self.plan.over,
            sender,
            receiver: &self.plan.receiver,
            state: progress.state,
            load: self.load.clone(),
            intended: self.messages,
            sent: &sent,
            received: progress.received.as_deref(),
            kept: progress.kept,
            intermediary: self.plan.kept.is_some(),
            exchanges: progress.conclusion.exchanges.as_deref(),
            failure: progress.failure.as_ref().map(|refusal| refusal.detail().to_owned()),
            details: progress.conclusion.details.clone(),
        })
    }
}
