//! The sending end of every paradigm: a request becomes a run, a run becomes messages and records, and records
//! become a report once the receiver has said what arrived. It does not know how a message travels.

mod endpoints;
mod ledger;
mod request;
mod settle;

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use crosstalk_contract::{
    Message, RunId,
    record::{ExchangeRecord, SentRecord},
    report::{RunReport, RunState},
    units::shown,
};
use crosstalk_measure::{Drive, Exchange, Load, SentLedger};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::endpoints::role;
use self::{ledger::Entry, settle::settle};
pub use self::{
    ledger::Runs,
    request::{LOAD, RunRequest, new_run},
};
use crate::{
    Host,
    config::Span,
    http::{Pretty, Refusal, body::Payloads},
};

/// How runs are kept and closed (`[run]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunOptions {
    pub(crate) at_once: usize,
    pub(crate) remembered: usize,
    pub(crate) records_max: usize,
    pub(crate) settle_idle: Span,
    pub(crate) settle_max: Span,
}

/// What a paradigm says about a run before it begins.
#[derive(Clone)]
pub struct Plan {
    /// The paradigm.
    pub paradigm: &'static str,
    /// What it goes over, such as a broker's name; empty when there is only one way.
    pub over: String,
    /// The node whose inbox tells what arrived.
    pub receiver: String,
    /// How long the receiver must be silent before the accounts are closed, when that is not `run.settle_idle`.
    pub settle_idle: Option<std::time::Duration>,
    /// Asks an intermediary how many of the run's messages it still keeps.
    pub kept: Option<Kept>,
}

/// Asks an intermediary how many messages of a run it still keeps; `None` when it cannot say.
pub type Kept = Arc<dyn Fn(RunId) -> BoxFuture<'static, Option<u64>> + Send + Sync>;

/// What a paradigm adds when its messages are sent.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// The sender's records, when another node sent the messages.
    pub sent: Option<Vec<SentRecord>>,
    /// Exchanges on the hop, when they are not the messages themselves.
    pub exchanges: Option<Vec<ExchangeRecord>>,
    /// Figures of its own.
    pub details: serde_json::Map<String, serde_json::Value>,
    /// What ended the run early, when there is more to conclude than that.
    pub failure: Option<RunFailure>,
}

/// Why a run ended early: what the paradigm's error says (503 when nothing was sent), or what was wrong with the
/// request's body.
#[derive(Debug)]
pub struct RunFailure(Refusal);

impl<E: std::error::Error> From<E> for RunFailure {
    fn from(error: E) -> Self {
        Self(Refusal::unavailable(error.to_string()))
    }
}

impl From<Refusal> for RunFailure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// A run under way, in the hands of its paradigm.
pub struct Run {
    /// The node.
    pub host: Host,
    /// The run.
    pub id: RunId,
    /// What it is asked to send.
    pub load: Load,
    /// Its payloads.
    pub payloads: Payloads,
    ledger: SentLedger,
    cancel: CancellationToken,
}

impl Run {
    /// Sends all messages: see [`Drive::send`].
    ///
    /// # Errors
    /// When an upload broke off; what came before it was sent.
    pub async fn drive<F, H, C>(self, start: F) -> Result<(), RunFailure>
    where
        F: FnMut(Message) -> H,
        H: Future<Output = C>,
        C: Future<Output = Exchange>,
    {
        let fault = self.payloads.fault();
        let drive = Drive {
            clock: self.host.clock(),
            load: self.load,
            run: self.id,
            sender: self.host.name(),
            ledger: &self.ledger,
            cancel: &self.cancel,
        };
        drive.send(self.payloads.into_stream(), start).await;
        match fault.get() {
            Some(refusal) => Err(refusal.into()),
            None if self.cancel.is_cancelled() && (self.ledger.len() as u64) < self.load.messages => {
                let (sent, intended) = (self.ledger.len(), self.load.messages);
                Err(Refusal::unavailable(format!("the node was stopped after {sent} of {intended} messages")).into())
            }
            None => Ok(()),
        }
    }
}

/// Begins a run and answers with its report, or at once with 202 when the request prefers so.
///
/// `exchange` sends the messages. It goes on when whoever asked has gone away.
///
/// # Errors
/// When the run exists already, too many are under way, or it failed before anything was sent.
pub async fn start<F, S>(host: &Host, request: RunRequest, plan: Plan, exchange: F) -> Result<Response, Refusal>
where
    F: FnOnce(Run) -> S + Send + 'static,
    S: Future<Output = Result<Conclusion, RunFailure>> + Send,
{
    let RunRequest { run: id, load, payload, payloads, respond_async, .. } = request;
    let description = format!("{load}, {payload}");
    let (entry, permit) = host.runs().begin(id, plan, load.messages, description)?;
    let (paradigm, receiver) = (entry.plan.paradigm, entry.plan.receiver.clone());
    info!("run {id}: {paradigm}{}, {} → {receiver}", over(&entry.plan.over), entry.load);
    host.metrics().run_began(paradigm);
    let run =
        Run { host: host.clone(), id, load, payloads, ledger: entry.ledger.clone(), cancel: host.shutdown().clone() };
    let task = tokio::spawn({
        let (host, entry) = (host.clone(), Arc::clone(&entry));
        async move {
            let ended = exchange(run).await;
            conclude(&host, &entry, ended).await;
            drop(permit);
        }
    });
    if respond_async {
        let location = HeaderValue::try_from(format!("/runs/{id}")).map_err(Refusal::internal)?;
        let applied = HeaderValue::from_static("respond-async");
        let headers = [(header::LOCATION, location), (header::HeaderName::from_static("preference-applied"), applied)];
        return Ok((StatusCode::ACCEPTED, headers, Pretty(entry.report(host.name()))).into_response());
    }
    if let Err(error) = task.await {
        entry.fail(Refusal::internal(format!("the run ended unexpectedly: {error}")));
    }
    answer(&entry, &entry.report(host.name()))
}

/// A run that could not begin is an error; one that began is a result, whatever became of its messages.
fn answer(entry: &Entry, report: &RunReport) -> Result<Response, Refusal> {
    match entry.failure() {
        Some(refusal) if report.messages.sent == 0 => Err(refusal.of(&format!("run {}", report.run))),
        _ => Ok(Pretty(report).into_response()),
    }
}

async fn conclude(host: &Host, entry: &Entry, ended: Result<Conclusion, RunFailure>) {
    let failure = match ended {
        Ok(mut conclusion) => {
            let failure = conclusion.failure.take();
            entry.conclude(conclusion);
            failure
        }
        Err(failure) => Some(failure),
    };
    entry.set_state(RunState::Settling);
    let sent = entry.sent();
    let failed = sent.iter().filter(|record| record.error.is_some()).count() as u64;
    host.metrics().messages(entry.plan.paradigm, "sent", sent.len() as u64);
    host.metrics().messages(entry.plan.paradigm, "accepted", sent.len() as u64 - failed);
    host.metrics().messages(entry.plan.paradigm, "failed", failed);
    host.metrics().run_ended();
    if !sent.is_empty() {
        settle(host, entry).await;
    }
    match failure {
        Some(RunFailure(refusal)) => entry.fail(refusal),
        None => entry.set_state(RunState::Complete),
    }
    tell(&entry.report(host.name()));
}

fn tell(report: &RunReport) {
    let RunReport { run, paradigm, over: via, messages, waits, observed, errors, .. } = report;
    if let Some(error) = errors.first() {
        warn!("run {run}: {} × {}", error.count, error.error);
    }
    let mut accounts = format!("{} sent, {} delivered", messages.sent, messages.delivered);
    for (count, what) in [
        (messages.waiting, "waiting for the receiver"),
        (messages.lost, "lost"),
        (messages.duplicated, "duplicated"),
        (messages.unknown, "unknown, as the receiver cannot be asked"),
    ] {
        if count > 0 {
            accounts += &format!(", {count} {what}");
        }
    }
    let wait = shown(std::time::Duration::from_secs_f64(waits.hop.p50_ms.max(0.0) / 1e3));
    info!(
        "run {run}: {paradigm}{} is over: {accounts}; the sender was held {wait} (p50); {}",
        over(via),
        observed.summary
    );
}

fn over(over: &str) -> String {
    if over.is_empty() { String::new() } else { format!(" over {over}") }
}

/// The payload that stands for a size: letters, so that it can be read in logs and captures.
fn filler(size: usize) -> Bytes {
    (0..size).map(|index| b'a' + (index % 26) as u8).collect::<Vec<_>>().into()
}
