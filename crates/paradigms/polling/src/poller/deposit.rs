//! Asks the producer to deposit the messages of a run, and for its records of them afterwards. It does not know
//! who fetches them, nor how.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crosstalk_contract::{
    RunId,
    frame::{PAYLOADS_MEDIA_TYPE, encode_payload},
    record::SentRecord,
};
use crosstalk_host::{
    Host,
    http::body::Payloads,
    peers::{PeerError, Peers},
};
use crosstalk_measure::{Load, Pace};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::sleep;

use super::{PRODUCER, RETRY_PAUSE};
use crate::{PollingError, wire::MAILBOX};

/// Longest time until the producer has taken the order, which it does before it reads an upload.
const ORDER_MAX: Duration = Duration::from_secs(30);
/// Longest time for the records of a million messages to be written and read.
const RECORDS_MAX: Duration = Duration::from_secs(60);

/// Orders the deposit; it goes on by itself, and an upload is passed on as it arrives.
pub(super) async fn order(host: &Host, run: RunId, load: Load, payloads: Payloads) -> Result<(), PollingError> {
    let url = format!("{}{MAILBOX}", host.peers().url(PRODUCER).map_err(PollingError::Deposit)?);
    let request = host
        .peers()
        .upload_client()
        .post(url)
        .header("prefer", "respond-async")
        .query(&[("run", run.to_string()), ("messages", load.messages.to_string())])
        .query(&[match load.pace {
            Pace::Open(rate) => ("rate", rate.to_string()),
            Pace::Closed { in_flight } => ("in_flight", in_flight.to_string()),
        }]);
    let request = match payloads {
        // No body at all would mean a payload of the producer's own choice.
        Payloads::Repeated(payload) if payload.is_empty() => request.query(&[("payload", "0B")]),
        Payloads::Repeated(payload) => request.header("content-type", "application/octet-stream").body(payload),
        Payloads::Uploaded(_) => {
            request.header("content-type", PAYLOADS_MEDIA_TYPE).body(reqwest::Body::wrap_stream(passed_on(payloads)))
        }
    };
    // The time is bounded around the answer, not in the request: an upload goes on behind the answer.
    let ordered = tokio::time::timeout(ORDER_MAX, Peers::json::<serde::de::IgnoredAny>(PRODUCER, request)).await;
    match ordered {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(PollingError::Deposit(error)),
        Err(_) => Err(PollingError::Answer(format!("none within {} s", ORDER_MAX.as_secs()))),
    }
}

/// The payloads in the upload form. When the upload broke off, so does what is passed on: the producer must not
/// take half of it for the whole.
fn passed_on(payloads: Payloads) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let fault = payloads.fault();
    let pieces = payloads.into_stream().map(|payload| {
        let mut piece = BytesMut::new();
        encode_payload(&payload, &mut piece).map_err(std::io::Error::other)?;
        Ok(piece.freeze())
    });
    let end = stream::once(async move { fault.get() });
    pieces.chain(end.filter_map(|reason| {
        std::future::ready(reason.map(|reason| Err(std::io::Error::other(reason.detail().to_owned()))))
    }))
}

/// The producer's records, by number. A producer that does not answer is asked again for `away_max`.
pub(super) async fn records(
    host: &Host,
    run: RunId,
    messages: u64,
    away_max: Duration,
) -> Result<Vec<SentRecord>, PollingError> {
    let url = format!("{}/runs/{run}/messages", host.peers().url(PRODUCER).map_err(PollingError::Records)?);
    let began = Instant::now();
    loop {
        let request = host.peers().client().get(&url).query(&[("limit", messages.max(1))]).timeout(RECORDS_MAX);
        // Of each timeline only the sender's part is read: what arrived here is known here.
        match Peers::json(PRODUCER, request).await {
            Err(PeerError::Unreachable { .. }) if began.elapsed() < away_max => sleep(RETRY_PAUSE).await,
            answer => return answer.map_err(PollingError::Records),
        }
    }
}
