//! What people see of the runs that a node started. It does not start any.

use axum::{
    Json,
    extract::{Path, State},
};
use crosstalk_contract::{
    record::{MessageTimeline, SeenBy},
    report::RunReport,
};
use crosstalk_measure::load::MESSAGES_MAX;

use super::settle::refresh;
use crate::{
    Host,
    http::{Endpoint, Kind, Param, Params, Pretty, Refusal, Role},
    receiver::run_in_path,
};

/// Messages that a timeline lists when nobody says how many.
const LIMIT_DEFAULT: u64 = 100;

pub(crate) fn role(host: &Host) -> Role {
    let limit = Param {
        name: "limit",
        kind: Kind::Count { min: 1, max: MESSAGES_MAX },
        default: "100",
        about: "How many messages, from the first.",
    };
    let endpoints = vec![
        Endpoint::get("/runs", "The runs started here, newest first", all, host.clone())
            .curl("the runs started here", "'{base}/runs'"),
        Endpoint::get(
            "/runs/{run}",
            "The accounts of one run, brought up to date when something is missing",
            one,
            host.clone(),
        ),
        Endpoint::get("/runs/{run}/messages", "What happened to each message, at both ends", messages, host.clone())
            .params([limit]),
    ];
    Role::pages(endpoints)
}

async fn all(State(host): State<Host>, _: Params) -> Pretty<Vec<RunReport>> {
    Pretty(host.runs().all().iter().map(|entry| entry.report(host.name())).collect())
}

fn unknown(run: &str) -> Refusal {
    Refusal::not_found(format!(
        "run {run} was not started here, or newer runs took its place; GET /runs lists what is known"
    ))
}

async fn one(State(host): State<Host>, Path(run): Path<String>, _: Params) -> Result<Pretty<RunReport>, Refusal> {
    let entry = host.runs().get(run_in_path(&run)?).ok_or_else(|| unknown(&run))?;
    let report = entry.report(host.name());
    if !report.state.is_final() || report.messages.delivered == report.messages.expected {
        return Ok(Pretty(report));
    }
    // A receiver that was away may be back: what was waiting then may have arrived since.
    refresh(&host, &entry).await;
    Ok(Pretty(entry.report(host.name())))
}

async fn messages(
    State(host): State<Host>,
    Path(run): Path<String>,
    params: Params,
) -> Result<Json<Vec<MessageTimeline>>, Refusal> {
    let entry = host.runs().get(run_in_path(&run)?).ok_or_else(|| unknown(&run))?;
    let limit = usize::try_from(params.count("limit").unwrap_or(LIMIT_DEFAULT)).unwrap_or(usize::MAX);
    let mut timelines: Vec<_> =
        entry.sent().into_iter().take(limit).map(|sent| MessageTimeline { sent, received: Vec::new() }).collect();
    for receiver in entry.received() {
        for record in receiver.records {
            let place = timelines.binary_search_by_key(&record.seq, |timeline| timeline.sent.seq);
            if let Ok(index) = place {
                timelines[index].received.push(SeenBy { receiver: receiver.receiver.clone(), record });
            }
        }
    }
    Ok(Json(timelines))
}
