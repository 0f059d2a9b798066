//! What people and senders see of a receiver: its inbox, and how it works. It does not know how messages came.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use crosstalk_contract::{RunId, record::InboxReport};
use futures_util::stream;
use tokio::sync::mpsc;
use tracing::info;

use super::{Behaviour, Receiver};
use crate::{
    http::{Endpoint, Kind, Param, Params, Pretty, Refusal, Role, body::read_whole},
    inbox::RunSummary,
};

/// Longest time that a question for a run's progress is held.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest body of a behaviour.
const BEHAVIOUR_MAX: usize = 4096;
/// Longest pause in the body of a behaviour.
const BEHAVIOUR_IDLE: Duration = Duration::from_secs(10);
/// Payloads read ahead of a slow reader.
const READ_AHEAD: usize = 64;

pub(super) fn role(receiver: &Receiver) -> Role {
    let at = || receiver.clone();
    let endpoints = vec![
        Endpoint::get("/inbox", "The runs that this node received, newest first", runs, at())
            .curl("what arrived here, run by run", "'{base}/inbox'"),
        Endpoint::get("/inbox/{run}", "What arrived of one run", report, at()).params([
            Param {
                name: "paradigm",
                kind: Kind::Name,
                default: "",
                about: "Also name its receivers that got nothing.",
            },
            Param {
                name: "processed",
                kind: Kind::Count { min: 0, max: u64::MAX },
                default: "0",
                about: "Hold the answer until so many are finished.",
            },
            Param {
                name: "wait",
                kind: Kind::Duration(WAIT_MAX),
                default: "0ms",
                about: "For how long at most to hold the answer.",
            },
            Param { name: "records", kind: Kind::Flag, default: "false", about: "One record for each message." },
        ]),
        Endpoint::get(
            "/inbox/{run}/payloads",
            "The payloads of one run in order, one after the other, as they are",
            payloads,
            at(),
        )
        .params([Param {
            name: "receiver",
            kind: Kind::Name,
            default: "the first",
            about: "Which receiver of this node.",
        }]),
        Endpoint::get("/behaviour", "How slow this receiver is, and how much it does at once", behaviour, at())
            .curl("how slow it is", "'{base}/behaviour'"),
        Endpoint::put("/behaviour", "Makes it slower or faster", adjust, at())
            .body(r#"JSON such as {"work": "20ms", "concurrency": 2}; what is left out stays"#)
            .curl(
                "make it slow: 20 ms for each message, one at a time",
                r#"-d '{"work": "20ms", "concurrency": 1}' '{base}/behaviour'"#,
            )
            .curl("and fast again", r#"-d '{"work": "0ms", "concurrency": 8}' '{base}/behaviour'"#),
    ];
    Role::pages(endpoints)
}

async fn runs(State(receiver): State<Receiver>, _: Params) -> Pretty<Vec<RunSummary>> {
    Pretty(receiver.inbox.runs())
}

/// Reads the run's id in a path.
///
/// # Errors
/// 400 when it is none.
pub fn run_in_path(text: &str) -> Result<RunId, Refusal> {
    text.parse().map_err(|error: crosstalk_contract::identity::RunIdError| Refusal::bad("run", error.to_string()))
}

async fn report(
    State(receiver): State<Receiver>,
    Path(run): Path<String>,
    params: Params,
) -> Result<Json<InboxReport>, Refusal> {
    let run = run_in_path(&run)?;
    if let (Some(at_least), Some(wait)) = (params.count("processed"), params.duration("wait")) {
        let waiting = receiver.inbox.wait_processed(run, at_least, wait);
        receiver.host.shutdown().run_until_cancelled(waiting).await;
    }
    let report =
        receiver.inbox.report(run, params.word("paradigm"), params.flag("records")).map_err(Refusal::internal)?;
    report.map(Json).ok_or_else(|| nothing_of(run))
}

fn nothing_of(run: RunId) -> Refusal {
    Refusal::not_found(format!(
        "nothing of run {run} arrived here, or it was so long ago that newer runs took its place; GET /inbox lists what is here"
    ))
}

async fn payloads(
    State(receiver): State<Receiver>,
    Path(run): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let run = run_in_path(&run)?;
    let messages = receiver.inbox.messages(run, params.word("receiver")).map_err(Refusal::internal)?;
    let messages = messages.ok_or_else(|| nothing_of(run))?;
    let (sender, reader) = mpsc::channel::<Result<Bytes, crate::inbox::InboxError>>(READ_AHEAD);
    // Reading files blocks, and a run may be a gigabyte: a thread of its own, held back by the reader.
    tokio::task::spawn_blocking(move || {
        for message in messages {
            if sender.blocking_send(message.map(|message| message.payload)).is_err() {
                break;
            }
        }
    });
    let body = stream::unfold(reader, |mut reader| async move { reader.recv().await.map(|payload| (payload, reader)) });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(body)).into_response())
}

async fn behaviour(State(receiver): State<Receiver>, _: Params) -> Pretty<Behaviour> {
    Pretty(receiver.behaviour.get())
}

async fn adjust(State(receiver): State<Receiver>, _: Params, body: Body) -> Result<Pretty<Behaviour>, Refusal> {
    let text = read_whole(body, BEHAVIOUR_MAX, BEHAVIOUR_IDLE).await?;
    let behaviour = receiver.behaviour.get().adjusted(&text)?;
    receiver.behaviour.set(behaviour);
    info!("from now on {:?} of work for each message, {} at once", behaviour.work, behaviour.concurrency);
    Ok(Pretty(behaviour))
}
