//! What is asked of a run: its load, payloads and preference, from the query, the headers and the body. It does
//! not know the paradigm.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
};
use crosstalk_contract::{
    RunId,
    frame::{PAYLOAD_MAX, PAYLOADS_MEDIA_TYPE},
    units::Rate,
};
use crosstalk_measure::{
    Load, Pace,
    load::{IN_FLIGHT_MAX, MESSAGES_MAX},
};
use serde::Deserialize;

use super::filler;
use crate::{
    Host,
    config::{Size, Span},
    http::{
        Kind, Param, Params, Refusal,
        body::{Payloads, Upload, read_whole},
    },
};

/// Messages of a run that does not say how many.
const MESSAGES_DEFAULT: u64 = 5;
/// Bytes of a message that does not say how many.
const PAYLOAD_DEFAULT: u64 = 64;

/// Messages of an upload that are under way at once when the request does not say: a file should arrive soon.
const UPLOAD_IN_FLIGHT: u64 = 64;

/// The parameters that describe a load, the same for every paradigm.
pub const LOAD: [Param; 5] = [
    Param {
        name: "messages",
        kind: Kind::Count { min: 0, max: MESSAGES_MAX },
        default: "5",
        about: "How many messages.",
    },
    Param {
        name: "rate",
        kind: Kind::Rate,
        default: "",
        about: "Open loop: start so many per second, whatever becomes of them.",
    },
    Param {
        name: "in_flight",
        kind: Kind::Count { min: 1, max: IN_FLIGHT_MAX },
        default: "1",
        about: "Closed loop: so many under way at once. Not together with rate.",
    },
    Param {
        name: "payload",
        kind: Kind::Size(PAYLOAD_MAX as u64),
        default: "64B",
        about: "Bytes of each message. Not together with a body, which is the payload itself.",
    },
    Param { name: "run", kind: Kind::Run, default: "a new one", about: "The run's id, for who wants to choose it." },
];

/// The body's bounds (`[http]`, as far as runs need them).
#[derive(Debug, Clone, Deserialize)]
struct BodyOptions {
    payload_max: Size,
    upload_max: Size,
    body_idle: Span,
}

/// A run, as asked for.
pub struct RunRequest {
    /// Its id.
    pub run: RunId,
    /// How much, and in which loop.
    pub load: Load,
    /// The payload in words.
    pub payload: String,
    /// The payloads.
    pub payloads: Payloads,
    /// Whether to answer at once with 202 (RFC 7240, section 4.1).
    pub respond_async: bool,
    /// Whether the request says how fast.
    paced: bool,
}

impl RunRequest {
    /// Reads what is asked of a run. `default_pace` holds when neither `rate` nor `in_flight` is given and the
    /// request does not upload its messages.
    ///
    /// # Errors
    /// When the request contradicts itself or its body is out of bounds.
    pub async fn read(host: &Host, params: &Params, request: Request, default_pace: Pace) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let asked = match (params.rate("rate"), params.count("in_flight")) {
            (Some(_), Some(_)) => {
                let detail = "rate (open loop) and in_flight (closed loop) exclude each other: give one of them";
                return Err(Refusal::bad("rate", detail));
            }
            (Some(rate), None) => Some(Pace::Open(rate)),
            (None, in_flight) => in_flight.map(|in_flight| Pace::Closed { in_flight }),
        };
        let messages = params.count("messages").unwrap_or(MESSAGES_DEFAULT);
        let (payloads, payload) = payloads(host, params, &parts.headers, body).await?;
        let pace = asked.unwrap_or(match payloads {
            Payloads::Uploaded(_) => Pace::Closed { in_flight: UPLOAD_IN_FLIGHT },
            Payloads::Repeated(_) => default_pace,
        });
        Ok(Self {
            run: params.run("run").unwrap_or_else(new_run),
            load: Load { messages, pace },
            payload,
            payloads,
            respond_async: prefers_async(&parts.headers),
            paced: asked.is_some(),
        })
    }

    /// Sends an upload at `rate` when the request does not say how fast, over a transport that nothing slows down.
    pub fn pace_upload(&mut self, rate: Rate) {
        if !self.paced && matches!(self.payloads, Payloads::Uploaded(_)) {
            self.load.pace = Pace::Open(rate);
        }
    }

    /// Refuses payloads over `max` bytes, for transports that carry less than HTTP does. Uploads are checked
    /// message by message while they are read.
    ///
    /// # Errors
    /// 413 when the payload is larger.
    pub fn limit_payload(&mut self, max: usize, why: &str) -> Result<(), Refusal> {
        match &mut self.payloads {
            Payloads::Repeated(payload) if payload.len() > max => {
                let size = payload.len();
                Err(Refusal::too_large(format!("a payload of {size} B, but {why} carries at most {max} B"))
                    .naming("payload"))
            }
            Payloads::Repeated(_) => Ok(()),
            Payloads::Uploaded(upload) => {
                upload.limit(max, why);
                Ok(())
            }
        }
    }
}

async fn payloads(
    host: &Host,
    params: &Params,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Payloads, String), Refusal> {
    let options: BodyOptions = host.config().section("http").map_err(Refusal::internal)?;
    let payload_max = options.payload_max.as_usize();
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media_type == Some(PAYLOADS_MEDIA_TYPE) {
        let upload = Upload::new(body, options.body_idle.0, payload_max, options.upload_max.0);
        return Ok((Payloads::Uploaded(upload.begun().await?), "uploaded".to_owned()));
    }
    let body = read_whole(body, payload_max, options.body_idle.0).await?;
    if !body.is_empty() {
        if params.count("payload").is_some() {
            return Err(Refusal::bad("payload", "payload (a size) and a body (the payload itself) exclude each other"));
        }
        let words = format!("{} B each, from the request", body.len());
        return Ok((Payloads::Repeated(body), words));
    }
    let size = usize::try_from(params.count("payload").unwrap_or(PAYLOAD_DEFAULT)).unwrap_or(usize::MAX);
    if size > payload_max {
        let detail = format!("payload: {size} B, but http.payload_max is {payload_max} B");
        return Err(Refusal::too_large(detail).naming("payload"));
    }
    Ok((Payloads::Repeated(filler(size)), format!("{size} B each")))
}

/// A run id that nobody has: from the hasher's keys, which the system seeds at random.
#[must_use]
pub fn new_run() -> RunId {
    use std::hash::{BuildHasher, RandomState};
    RunId::from_low_bits(RandomState::new().hash_one(std::time::SystemTime::now()))
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}
