//! The poller: has messages deposited in the producer's mailbox, and fetches them by asking. It does not know what
//! the mailbox does meanwhile.

mod arrived;
mod deposit;
mod polls;
mod schedule;

use std::{collections::HashMap, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use crosstalk_contract::{
    RunId,
    describe::{Demonstration, RoleDescription},
    record::SentRecord,
};
use crosstalk_host::{
    Host, Receiver,
    config::ConfigError,
    http::{Endpoint, Params, Refusal, Role},
    peers::Peers,
    runs::{self, Conclusion, LOAD, Plan, Run, RunFailure, RunRequest},
};
use crosstalk_measure::{Pace, histogram::latency};
use serde_json::{Map, Value, json};
use tracing::warn;

use self::{
    polls::{Figures, Polls},
    schedule::Schedule,
};
use crate::{PollingError, options::Options, wire::PARADIGM};

/// The node whose mailbox is asked.
const PRODUCER: &str = "producer";
/// Pause after a question that the producer did not answer, where nothing else sets the pace.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Poller {
    host: Host,
    receiver: Receiver,
    options: Options,
}

/// The poller's role: starts runs, and needs the producer.
///
/// # Errors
/// When `[polling]` is wrong.
pub fn role(host: &Host, receiver: &Receiver) -> Result<Role, ConfigError> {
    let options = Options::read(host)?;
    receiver.inbox().register(PARADIGM, &[host.name().to_owned()]);
    Peers::need(host, PRODUCER);
    let params = Schedule::params(&options);
    let start = Endpoint::post(
        "/polling",
        "Has the producer deposit messages, and fetches them from its mailbox",
        start,
        Poller { host: host.clone(), receiver: receiver.clone(), options },
    )
    .params(LOAD)
    .params(params)
    .body("The payload of each message; without one, see payload")
    .curl("five messages, asking every 200 ms", "'{base}/polling?messages=5'")
    .curl(
        "short polling of ten messages that come 20 a second: count the empty attempts",
        "'{base}/polling?mode=short&interval=20ms&messages=10&rate=20/s'",
    )
    .curl(
        "long polling of the same: each attempt is held open until a message comes",
        "'{base}/polling?mode=long&wait=5s&messages=10&rate=20/s'",
    )
    .curl(
        "your own payload; the answer comes at once, the result later",
        "-i -H 'Prefer: respond-async' -d 'hello' '{base}/polling?messages=1'",
    );
    Ok(Role { description: description(), endpoints: vec![start] })
}

fn description() -> RoleDescription {
    RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "asks the producer's mailbox for messages, again and again or held open".to_owned(),
        starts: Some("/polling".to_owned()),
        receiver: Some("poller".to_owned()),
        demonstrations: vec![
            Demonstration {
                title: "Short polling".to_owned(),
                explanation: "The producer puts a message into its mailbox every 50 ms, and the poller asks for messages every 20 ms. Each attempt is a call with its response at once, also when there is nothing: compare attempts with messages, and look at the staleness, how long a message lay in the mailbox until it was fetched.".to_owned(),
                query: "mode=short&interval=20ms&messages=10&rate=20/s".to_owned(),
                per_broker: false,
                lossless: true,
            },
            Demonstration {
                title: "Long polling".to_owned(),
                explanation: "The same messages, but the producer holds each call open until there is something to answer with. Hardly an attempt is empty and messages are fetched as soon as they are there; the price is an exchange that stays open all the time.".to_owned(),
                query: "mode=long&wait=5s&messages=10&rate=20/s".to_owned(),
                per_broker: false,
                lossless: true,
            },
        ],
    }
}

async fn start(State(poller): State<Poller>, params: Params, request: Request) -> Result<Response, Refusal> {
    let schedule = Schedule::read(&params, &poller.options)?;
    let host = poller.host.clone();
    let request = RunRequest::read(&host, &params, request, Pace::Closed { in_flight: 1 }).await?;
    let plan = Plan {
        paradigm: PARADIGM,
        over: String::new(),
        receiver: host.name().to_owned(),
        settle_idle: None,
        kept: None,
    };
    runs::start(&host, request, plan, move |run| async move { poller.run(run, schedule).await }).await
}

impl Poller {
    async fn run(&self, run: Run, schedule: Schedule) -> Result<Conclusion, RunFailure> {
        let Run { id, load, payloads, .. } = run;
        let fault = payloads.fault();
        let mut polls = Polls::new(&self.host, &self.receiver, id, schedule, self.options.away_max.0)?;
        let ended = {
            let polling = async {
                deposit::order(&self.host, id, load, payloads).await?;
                polls.go(load.messages).await
            };
            let bounded = tokio::time::timeout(self.options.run_max.0, polling);
            let ended = self.host.shutdown().run_until_cancelled(bounded).await.ok_or(PollingError::Stopping)?;
            ended.unwrap_or(Err(PollingError::TooLong(self.options.run_max.0)))
        };
        if let Err(error @ (PollingError::Deposit(_) | PollingError::Away { .. } | PollingError::Forgotten(_))) = ended
        {
            return self.conclude_alone(id, schedule, polls.figures, error).await;
        }
        let accounts = async {
            polls.leave().await;
            deposit::records(&self.host, id, load.messages, self.options.away_max.0).await
        };
        let accounts = self.host.shutdown().run_until_cancelled(accounts).await;
        let sent = match accounts.unwrap_or(Err(PollingError::Stopping)) {
            Ok(sent) => sent,
            Err(error) => return self.conclude_alone(id, schedule, polls.figures, error).await,
        };
        let mut details = details(schedule, &polls.figures);
        self.note_staleness(id, &sent, &mut details);
        let failure = fault.get().map(RunFailure::from).or_else(|| ended.err().map(RunFailure::from));
        Ok(Conclusion { sent: Some(sent), exchanges: Some(polls.figures.attempts), details, failure })
    }

    /// Without the producer there are no records of what it sent, but what arrived here did so all the same. How
    /// long that lay in the mailbox is not known, as nobody can say when it was put in.
    async fn conclude_alone(
        &self,
        run: RunId,
        schedule: Schedule,
        figures: Figures,
        error: PollingError,
    ) -> Result<Conclusion, RunFailure> {
        // The inbox may know messages of an earlier run with this id; they say nothing about this one.
        if figures.messages == 0 {
            return Err(error.into());
        }
        let sent = match arrived::records(self.receiver.inbox(), run).await {
            Ok(sent) => sent,
            Err(unread) => {
                warn!("run {run}: cannot read again what arrived: {unread}");
                return Err(error.into());
            }
        };
        let reason = format!("{error}; without the producer's records, only what arrived counts as sent");
        Ok(Conclusion {
            sent: Some(sent),
            details: details(schedule, &figures),
            exchanges: Some(figures.attempts),
            failure: Some(Refusal::unavailable(reason).into()),
        })
    }

    fn note_staleness(&self, run: RunId, sent: &[SentRecord], details: &mut Map<String, Value>) {
        let staleness = latency(self.staleness_ns(run, sent));
        if staleness.count > 0 {
            details.insert("staleness_p50_ms".to_owned(), json!(staleness.p50_ms));
            details.insert("staleness_p99_ms".to_owned(), json!(staleness.p99_ms));
        }
    }

    /// For each message the time from its deposit until it was here. Both clocks are of one machine, or as far
    /// apart as those of the two machines.
    fn staleness_ns(&self, run: RunId, sent: &[SentRecord]) -> Vec<u64> {
        let report = self.receiver.inbox().report(run, None, true).ok().flatten();
        let receivers = report.map(|report| report.receivers).unwrap_or_default();
        let received: HashMap<u64, u64> =
            receivers.iter().flat_map(|r| &r.records).map(|record| (record.seq, record.received_ns)).collect();
        let accepted = sent.iter().filter(|record| record.error.is_none());
        accepted.filter_map(|record| Some(received.get(&record.seq)?.saturating_sub(record.freed_ns))).collect()
    }
}

/// The attempts in figures: what was asked, what came of it, and what that cost.
#[expect(clippy::cast_precision_loss, reason = "counts of attempts, messages and bytes of one run")]
fn details(schedule: Schedule, figures: &Figures) -> Map<String, Value> {
    let attempts = figures.attempts.len();
    let mut details = Map::new();
    let mut note = |name: &str, value: Value| details.insert(name.to_owned(), value);
    note("origin", json!(PRODUCER));
    note("mode", json!(schedule.name()));
    note("attempts", json!(attempts));
    note("empty_attempts", json!(figures.empty));
    note("failed_attempts", json!(figures.failed));
    if let Some(wait) = schedule.wait() {
        note("wait_ms", json!(wait.as_secs_f64() * 1e3));
        note("exchanges_held", json!(figures.held));
    } else if let Schedule::Short { interval } = schedule {
        note("interval_ms", json!(interval.as_secs_f64() * 1e3));
    }
    if figures.messages > 0 {
        note("attempts_per_message", json!(attempts as f64 / figures.messages as f64));
        note("answer_bytes_per_message", json!(figures.answer_bytes as f64 / figures.messages as f64));
    }
    details
}
