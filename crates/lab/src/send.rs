//! Carries a file through a cluster as messages of one run. It does not know how the paradigm carries them.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use crosstalk_contract::{
    RunId,
    frame::{PAYLOAD_MAX, PAYLOADS_MEDIA_TYPE, encode_payload},
    report::RunReport,
};
use crosstalk_host::peers::{PeerError, Peers};
use futures_util::stream;

use crate::{LabError, cluster::Cluster};

/// Most messages of one run, as the nodes allow.
const MESSAGES_MAX: u64 = 1_000_000;
/// Bytes of an upload that are handed over at once.
const PIECE: usize = 64 << 10;
/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);

/// How an input is cut into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One message for each line, its line feed included.
    Lines,
    /// Messages of so many bytes, the last one shorter.
    Chunks(usize),
}

/// Cuts `input` into messages, none of them empty; put together again they are `input`.
///
/// # Errors
/// When a message or their number is over its bound.
pub fn cut(input: &Bytes, cut: Cut) -> Result<Vec<Bytes>, LabError> {
    let mut messages = Vec::new();
    let mut rest = input.clone();
    while !rest.is_empty() {
        let length = match cut {
            Cut::Lines => rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1),
            Cut::Chunks(size) => size.clamp(1, rest.len()),
        };
        if length > PAYLOAD_MAX {
            return Err(LabError::MessageTooLarge { number: messages.len() + 1, size: length, max: PAYLOAD_MAX });
        }
        messages.push(rest.split_to(length));
    }
    if messages.len() as u64 > MESSAGES_MAX {
        return Err(LabError::TooManyMessages(messages.len(), MESSAGES_MAX));
    }
    Ok(messages)
}

/// Sends `messages` over `paradigm` as run `run`, with further parameters of the paradigm; `told` is called
/// about every second with the number of messages handed over so far.
///
/// # Errors
/// When nobody starts this paradigm, or the run could not be started.
pub async fn send(
    cluster: &Cluster,
    paradigm: &str,
    run: RunId,
    messages: Vec<Bytes>,
    parameters: &[(String, String)],
    told: impl Fn(u64),
) -> Result<RunReport, LabError> {
    let found = cluster.starting().find(|(_, role, _)| role.paradigm == paradigm);
    let Some((node, _, path)) = found else {
        let known: Vec<_> = cluster.starting().map(|(_, role, _)| role.paradigm.as_str()).collect();
        return Err(LabError::Paradigm { asked: paradigm.to_owned(), known: known.join(", ") });
    };
    let count = messages.len();
    let handed = Arc::new(AtomicU64::new(0));
    let asked = |body: reqwest::Body| {
        let request = cluster.client().post(format!("{}{path}", node.url));
        let request = request.query(&[("run", run.to_string()), ("messages", count.to_string())]).query(parameters);
        Peers::json(&node.description.node, request.header("content-type", PAYLOADS_MEDIA_TYPE).body(body))
    };
    let mut answer = pin!(asked(reqwest::Body::wrap_stream(upload(messages, Arc::clone(&handed)))));
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + TELL, TELL);
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            _ = tick.tick() => told(handed.load(Ordering::Relaxed)),
        }
    };
    let Err(broken @ PeerError::Unreachable { .. }) = answer else { return Ok(answer?) };
    // Who refuses an upload answers before it has read it, and closes; that answer can be lost under what is still
    // being written. Asked again without the input, it gives its reason; a run that had begun exists already.
    match asked(reqwest::Body::from("")).await {
        Err(reason @ PeerError::Refused { status: 400 | 403 | 413, .. }) => Err(reason.into()),
        Ok(_) | Err(_) => Err(broken.into()),
    }
}

fn upload(messages: Vec<Bytes>, handed: Arc<AtomicU64>) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    stream::unfold(messages.into_iter(), move |mut messages| {
        let handed = Arc::clone(&handed);
        async move {
            let mut piece = BytesMut::new();
            let mut count = 0;
            while piece.len() < PIECE {
                let Some(message) = messages.next() else { break };
                if let Err(error) = encode_payload(&message, &mut piece) {
                    return Some((Err(std::io::Error::other(error)), messages));
                }
                count += 1;
            }
            handed.fetch_add(count, Ordering::Relaxed);
            (count > 0).then(|| (Ok(piece.freeze()), messages))
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_keep_their_line_feeds_and_the_last_may_have_none() {
        let input = Bytes::from_static(b"one\n\n\xff\0\nend");
        let messages = cut(&input, Cut::Lines).unwrap();
        assert_eq!(messages, [&b"one\n"[..], b"\n", b"\xff\0\n", b"end"]);
        assert!(cut(&Bytes::new(), Cut::Lines).unwrap().is_empty());
    }

    #[test]
    fn a_line_over_the_bound_is_named() {
        let mut input = b"short\n".to_vec();
        input.resize(PAYLOAD_MAX + 100, b'x');
        let error = cut(&input.into(), Cut::Lines).unwrap_err();
        assert!(matches!(error, LabError::MessageTooLarge { number: 2, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_cut_is_whole_again_when_put_together(
            input in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            size in prop::option::of(1usize..50),
        ) {
            let input = Bytes::from(input);
            let messages = cut(&input, size.map_or(Cut::Lines, Cut::Chunks)).unwrap();
            prop_assert!(messages.iter().all(|message| !message.is_empty()));
            prop_assert_eq!(messages.concat(), &input[..]);
        }
    }
}
