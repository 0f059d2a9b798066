//! The mailbox's owner: deposits the messages of a run, and answers polls at once or holds them open. It does not
//! know who polls, how often, or what becomes of an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use crosstalk_contract::{Message, RunId, describe::RoleDescription, frame::MESSAGES_MEDIA_TYPE, units::shown};
use crosstalk_host::{
    Host,
    config::ConfigError,
    http::{Endpoint, Kind, Param, Params, Pretty, Refusal, Role},
    runs::{self, Conclusion, Kept, LOAD, Plan, Run, RunFailure, RunRequest},
};
use crosstalk_measure::{Exchange, Pace};
use futures_util::FutureExt;

use crate::{
    PollingError,
    mailbox::{Batch, Found, Limits, Mailbox, Query},
    options::Options,
    wire::{self, DEPOSIT, HELD, LAST, Listed, Listing, MAILBOX, MORE, PARADIGM},
};

/// The node that is expected to ask for what is deposited.
const TAKER: &str = "poller";

#[derive(Clone)]
struct Owner {
    host: Host,
    mailbox: Arc<Mailbox>,
    room_wait: Duration,
}

/// The producer's role: a mailbox to deposit into and to ask.
///
/// # Errors
/// When `[polling]` is wrong.
pub fn role(host: &Host) -> Result<Role, ConfigError> {
    let options = Options::read(host)?;
    let limits =
        Limits { messages: options.mailbox_messages, bytes: options.mailbox_bytes.0, retention: options.retention.0 };
    let batch = Batch { messages: options.batch_messages, bytes: options.batch_bytes.0 };
    let mailbox = Arc::new(Mailbox::new(limits, batch));
    let owner = Owner { host: host.clone(), mailbox, room_wait: options.room_wait.0 };
    let ask = Endpoint::get(
        MAILBOX,
        "Messages of the mailbox behind an offset; frames with Accept: application/vnd.crosstalk.messages",
        ask,
        owner.clone(),
    )
    .params([
        Param {
            name: "after",
            kind: Kind::Count { min: 0, max: u64::MAX },
            default: "0",
            about: "Messages behind this offset; one that was not given out yet means from now on.",
        },
        Param {
            name: "wait",
            kind: Kind::Duration(options.wait_max.0),
            default: "0ms",
            about: "For how long to hold the answer open while there is nothing.",
        },
        Param {
            name: "run",
            kind: Kind::Run,
            default: "all",
            about: "Only this run's messages, and a confirmation that those up to after were taken.",
        },
    ])
    .curl("what is in the mailbox (the oldest ones, as many as an answer holds)", "'{base}/mailbox'")
    .curl(
        "a long poll: held open until a message comes, 5 s at most; deposit one from another terminal",
        "-i '{base}/mailbox?after=18446744073709551615&wait=5s'",
    )
    .curl(
        "the same as programs get it, frames one after the other; here only the headers",
        "-o /dev/null -D - -H 'Accept: application/vnd.crosstalk.messages' '{base}/mailbox'",
    );
    let deposit = Endpoint::post(MAILBOX, "Deposits messages in the mailbox, for whoever asks", deposit, owner)
        .params(LOAD)
        .body("The payload of each message; without one, see payload")
        .curl("deposit three messages, whether or not somebody asks for them", "'{base}/mailbox?messages=3'")
        .curl("deposit a message of your own", "-d 'hello' '{base}/mailbox?messages=1'");
    let description = RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "keeps messages in a mailbox until somebody asks for them".to_owned(),
        starts: None,
        receiver: None,
        demonstrations: Vec::new(),
    };
    Ok(Role { description, endpoints: vec![ask, deposit] })
}

async fn deposit(State(owner): State<Owner>, params: Params, request: Request) -> Result<Response, Refusal> {
    let host = owner.host.clone();
    let request = RunRequest::read(&host, &params, request, Pace::Closed { in_flight: 1 }).await?;
    let kept: Kept = {
        let mailbox = Arc::clone(&owner.mailbox);
        Arc::new(move |run| std::future::ready(Some(mailbox.untaken(run))).boxed())
    };
    let plan = Plan {
        paradigm: PARADIGM,
        over: String::new(),
        receiver: TAKER.to_owned(),
        settle_idle: None,
        kept: Some(kept),
    };
    runs::start(&host, request, plan, move |run| async move { owner.deposit_all(run).await }).await
}

impl Owner {
    async fn deposit_all(&self, run: Run) -> Result<Conclusion, RunFailure> {
        let id = run.id;
        self.mailbox.open(id);
        let stuck = AtomicBool::new(false);
        // Room is waited for before the next message begins: so an upload is held back instead of gathering in
        // memory, and messages keep their order.
        let ended = run.drive(|message| self.deposit_in_turn(message, &stuck).map(std::future::ready)).await;
        self.mailbox.close(id);
        ended.map(|()| Conclusion::default())
    }

    /// A message that waited in vain says that nobody takes any: those behind it need not each wait as long again,
    /// but one of them that finds room means that it goes on.
    async fn deposit_in_turn(&self, message: Message, stuck: &AtomicBool) -> Exchange {
        let patience = if stuck.load(Ordering::Relaxed) { Duration::ZERO } else { self.room_wait };
        let deposited = self.deposit_one(message, patience).await;
        stuck.store(deposited.error.is_some(), Ordering::Relaxed);
        deposited
    }

    async fn deposit_one(&self, message: Message, patience: Duration) -> Exchange {
        let clock = self.host.clock();
        let began = std::time::Instant::now();
        let deposit = self.mailbox.deposit(&message, patience);
        let deposited = self.host.shutdown().run_until_cancelled(deposit).await.unwrap_or(Err(PollingError::Stopping));
        let id = &message.identity;
        self.host.narrate(id.run, id.seq, || {
            let (seq, of, run) = (id.seq, id.of, id.run);
            match &deposited {
                Ok(offset) => format!(
                    "deposited {seq}/{of} of run {run} in the mailbox as {offset}: free after {}, whoever may ask",
                    shown(began.elapsed())
                ),
                Err(error) => format!("could not deposit {seq}/{of} of run {run}: {error}"),
            }
        });
        match deposited {
            Ok(_) => Exchange::unanswered(&clock),
            Err(error) => Exchange::failed(&clock, error.to_string()),
        }
    }
}

async fn ask(State(owner): State<Owner>, params: Params, headers: HeaderMap) -> Result<Response, Refusal> {
    let query = Query { after: params.count("after").unwrap_or(0), run: params.run("run") };
    let wait = params.duration("wait").unwrap_or_default();
    let began = std::time::Instant::now();
    let waiting = owner.mailbox.ask_and_wait(query, wait);
    // A node that stops answers with what there is, instead of keeping whoever asked until the connection breaks.
    let (found, held) =
        owner.host.shutdown().run_until_cancelled(waiting).await.unwrap_or_else(|| (owner.mailbox.ask(query), true));
    let held = held.then(|| began.elapsed());
    tell(&owner.host, query.run, &found, held);
    let frames = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains(MESSAGES_MEDIA_TYPE)));
    answer(found, held, frames)
}

/// A held answer that brought something is worth a line; empty ones would fill the log.
fn tell(host: &Host, run: Option<RunId>, found: &Found, held: Option<Duration>) {
    let (Some((_, first)), Some(held)) = (found.messages.first(), held) else { return };
    let count = found.messages.len();
    host.narrate(first.identity.run, first.identity.seq, || {
        let whose = run.map_or_else(|| "any run".to_owned(), |run| format!("run {run}"));
        format!("held a poll for {whose} open for {}, then answered with {}", shown(held), wire::counted(count as u64))
    });
}

fn answer(found: Found, held: Option<Duration>, frames: bool) -> Result<Response, Refusal> {
    let mut response = if frames {
        let body = wire::encode(found.messages.iter().map(|(_, message)| message)).map_err(Refusal::internal)?;
        ([(header::CONTENT_TYPE, MESSAGES_MEDIA_TYPE)], body).into_response()
    } else {
        let messages = found.messages.iter().map(|(offset, message)| Listed::new(*offset, message)).collect();
        Pretty(Listing { last: found.last, deposit: found.deposit, messages }).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(LAST, HeaderValue::from(found.last));
    if let Some(deposit) = found.deposit {
        headers.insert(DEPOSIT, HeaderValue::from_static(deposit.word()));
    }
    if found.more {
        headers.insert(MORE, HeaderValue::from_static("true"));
    }
    if let Some(held) = held {
        headers.insert(HELD, HeaderValue::from(u64::try_from(held.as_millis()).unwrap_or(u64::MAX)));
    }
    // The same address has another answer for every Accept header, and a new one every moment.
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
