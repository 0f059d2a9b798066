//! The callee. It answers when the work is done, and does not know who waits for the answer.

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use crosstalk_contract::{Message, describe::RoleDescription, frame::PAYLOAD_MAX};
use crosstalk_host::{
    Host, Receiver,
    http::{Endpoint, Refusal, Role, body::read_whole},
};

use crate::wire::{self, PARADIGM, PATH};

/// Longest pause within a request's body.
const BODY_IDLE: Duration = Duration::from_secs(10);

/// The callee's role.
#[must_use]
pub fn role(host: &Host, receiver: &Receiver) -> Role {
    receiver.inbox().register(PARADIGM, &[host.name().to_owned()]);
    let exchange = Endpoint::post(
        PATH,
        "One message of a run: its identity in crosstalk-* headers, its payload as the body",
        respond,
        (host.clone(), receiver.clone()),
    )
    .body("The message's payload");
    let description = RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "answers calls when the work is done".to_owned(),
        starts: None,
        receiver: None,
        demonstrations: Vec::new(),
    };
    Role { description, endpoints: vec![exchange] }
}

async fn respond(
    State((host, receiver)): State<(Host, Receiver)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let identity = wire::identity(&headers).map_err(|error| Refusal::bad(error.name, error.to_string()))?;
    let payload = read_whole(body, PAYLOAD_MAX, BODY_IDLE).await?;
    let message = Message { identity, payload };
    receiver.handle(PARADIGM, host.name(), &message).await.map_err(Refusal::insufficient_storage)?;
    Ok(StatusCode::NO_CONTENT)
}
