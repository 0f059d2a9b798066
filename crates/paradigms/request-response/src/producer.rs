//! The caller. It does not know what the callee does with a message, only that a response means it is done.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use crosstalk_contract::{
    Message,
    describe::{Demonstration, RoleDescription},
    text,
    units::shown,
};
use crosstalk_host::{
    Host,
    config::{ConfigError, Span},
    http::{Endpoint, Kind, Param, Params, Refusal, Role},
    peers::{PeerError, Peers},
    runs::{self, Conclusion, LOAD, Plan, RunRequest},
};
use crosstalk_measure::{Exchange, Pace};
use serde::Deserialize;

use crate::wire::{PARADIGM, PATH};

/// The callee when a request names none.
const CALLEE: &str = "consumer";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    timeout: Span,
}

#[derive(Clone)]
struct Caller {
    host: Host,
    options: Options,
}

/// The caller's role: starts runs, and needs the consumer.
///
/// # Errors
/// When `[request-response]` is wrong.
pub fn role(host: &Host) -> Result<Role, ConfigError> {
    let options = host.config().section(PARADIGM)?;
    Peers::need(host, CALLEE);
    let to = Param {
        name: "to",
        kind: Kind::Name,
        default: CALLEE,
        about: "The node to call; only nodes of the topology are called.",
    };
    let start = Endpoint::post(
        "/request-response",
        "Calls the consumer, and waits for each response",
        start,
        Caller { host: host.clone(), options },
    )
    .params(LOAD)
    .params([to])
    .body("The payload of each message; without one, see payload")
    .curl("call the consumer five times, one at a time", "'{base}/request-response?messages=5'")
    .curl("twenty calls, ten of them open at once", "'{base}/request-response?messages=20&in_flight=10'")
    .curl(
        "an open loop: 50 calls a second, however long they take",
        "'{base}/request-response?messages=50&rate=50/s&payload=1KiB'",
    )
    .curl(
        "your own payload; the answer comes at once, the result later",
        "-i -H 'Prefer: respond-async' -d 'hello' '{base}/request-response?messages=1'",
    );
    Ok(Role { description: description(), endpoints: vec![start] })
}

fn description() -> RoleDescription {
    RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "calls the consumer over HTTP and waits for each response".to_owned(),
        starts: Some("/request-response".to_owned()),
        receiver: Some(CALLEE.to_owned()),
        demonstrations: vec![
            Demonstration {
                title: "Request/response, one at a time".to_owned(),
                explanation: "The producer calls the consumer and starts the next call when the response to the last one is there: the whole takes as long as all parts together.".to_owned(),
                query: "messages=10&in_flight=1".to_owned(),
                per_broker: false,
                lossless: true,
            },
            Demonstration {
                title: "Request/response, many at once".to_owned(),
                explanation: "The same calls, all open at once. Each still waits for its response, but they wait together: the whole takes about as long as the slowest part.".to_owned(),
                query: "messages=10&in_flight=10".to_owned(),
                per_broker: false,
                lossless: true,
            },
        ],
    }
}

async fn start(State(caller): State<Caller>, params: Params, request: Request) -> Result<Response, Refusal> {
    let to = params.word("to").unwrap_or(CALLEE).to_owned();
    let url = match caller.host.peers().url(&to) {
        Ok(url) => Arc::<str>::from(format!("{url}{PATH}")),
        Err(error) => return Err(Refusal::new(StatusCode::FORBIDDEN, error.to_string())),
    };
    let request = RunRequest::read(&caller.host, &params, request, Pace::Closed { in_flight: 1 }).await?;
    let plan = Plan { paradigm: PARADIGM, over: String::new(), receiver: to.clone(), settle_idle: None, kept: None };
    let host = caller.host.clone();
    runs::start(&host, request, plan, move |run| async move {
        let to = Arc::<str>::from(to);
        run.drive(|message| {
            let (caller, url, to) = (caller.clone(), Arc::clone(&url), Arc::clone(&to));
            // Nothing happens before the response is awaited, so many calls can be begun one after the other.
            std::future::ready(async move { caller.call(&url, &to, message).await })
        })
        .await?;
        Ok(Conclusion::default())
    })
    .await
}

impl Caller {
    async fn call(&self, url: &str, to: &str, message: Message) -> Exchange {
        let clock = self.host.clock();
        let began = std::time::Instant::now();
        let mut request = self.host.peers().client().post(url).timeout(self.options.timeout.0);
        for (name, value) in text::fields(&message.identity) {
            request = request.header(name, value);
        }
        let answer = Peers::checked(to, request.body(message.payload)).await;
        let exchange = match &answer {
            Ok(_) => Exchange::answered(&clock),
            // An error status is an answer too, but not one that says the work is done.
            Err(error @ PeerError::Refused { .. }) => {
                Exchange { error: Some(error.to_string()), ..Exchange::answered(&clock) }
            }
            Err(error) => Exchange::failed(&clock, error.to_string()),
        };
        let id = &message.identity;
        self.host.narrate(id.run, id.seq, || {
            let outcome =
                exchange.error.as_deref().map_or("for the response".to_owned(), |error| format!("in vain: {error}"));
            format!(
                "called {to} with {}/{} of run {}: waited {} {outcome}",
                id.seq,
                id.of,
                id.run,
                shown(began.elapsed())
            )
        });
        exchange
    }
}
