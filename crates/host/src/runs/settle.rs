//! Closes the accounts of a run: asks the receiver until everything has arrived or nothing more happens. It does
//! not know how the messages travelled, and never takes the sender's word for a delivery.

use std::time::{Duration, Instant};

use crosstalk_contract::record::{InboxReport, ReceiverReport};

use super::ledger::Entry;
use crate::{
    Host,
    peers::{PeerError, Peers},
};

/// For how long one question to the receiver is held.
const ASK: Duration = Duration::from_millis(500);
/// Longest time for an answer beyond that: a million records take a while to write.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Pause after a question that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until the receiver has finished all messages, or neither it nor its intermediary has moved for
/// `run.settle_idle`, then notes what arrived and what is kept.
pub(super) async fn settle(host: &Host, entry: &Entry) {
    let options = &host.runs().options;
    let idle_max = entry.plan.settle_idle.unwrap_or(options.settle_idle.0);
    let began = Instant::now();
    let (mut seen, mut moved) = ((0, 0), Instant::now());
    while began.elapsed() < options.settle_max.0 && !host.shutdown().is_cancelled() {
        let sent = entry.sent_count();
        match ask(host, entry, Some(sent)).await {
            Ok(report) => {
                let count = |part: fn(&ReceiverReport) -> u64| report.receivers.iter().map(part).sum::<u64>();
                let expected = sent * report.receivers.len() as u64;
                let now = (count(|r| r.received), count(|r| r.processed));
                if now.1 >= expected {
                    break;
                }
                if now != seen || count(|r| r.in_progress) > 0 {
                    (seen, moved) = (now, Instant::now());
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        if moved.elapsed() >= idle_max {
            break;
        }
    }
    refresh(host, entry).await;
}

/// Notes what the receiver and the intermediary say at this moment.
pub(super) async fn refresh(host: &Host, entry: &Entry) {
    let kept = match &entry.plan.kept {
        Some(kept) => kept(entry.id).await,
        None => Some(0),
    };
    let received = ask(host, entry, None).await.ok().map(|report| report.receivers);
    entry.settled(received, kept);
}

/// Asks the receiver's inbox: for its progress, held until `sent` messages per receiver are finished, or for
/// all records.
async fn ask(host: &Host, entry: &Entry, sent: Option<u64>) -> Result<InboxReport, PeerError> {
    let receiver = entry.plan.receiver.as_str();
    let url = format!("{}/inbox/{}", host.peers().url(receiver)?, entry.id);
    let request = host.peers().client().get(url).query(&[("paradigm", entry.plan.paradigm)]).timeout(ASK + ANSWER_MAX);
    let request = match sent {
        Some(sent) => {
            // How many receivers there are is not known before the first answer, so the question is held for
            // one of them at most: enough for those with one, and the others are asked again.
            request.query(&[("processed", sent.to_string()), ("wait", format!("{}ms", ASK.as_millis()))])
        }
        None => request.query(&[("records", "true")]),
    };
    Peers::json(receiver, request).await
}
