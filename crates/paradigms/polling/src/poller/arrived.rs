//! What the poller itself knows of a run, for when the producer can no longer say what it sent. It does not know
//! what the producer deposited beyond that.

use crosstalk_contract::{Message, RunId, record::SentRecord};
use crosstalk_host::inbox::{Inbox, InboxError};

use crate::PollingError;

/// A sender's record of each message that arrived here, by number.
pub(super) async fn records(inbox: &Inbox, run: RunId) -> Result<Vec<SentRecord>, PollingError> {
    let inbox = inbox.clone();
    // The messages are read from the inbox's file.
    match tokio::task::spawn_blocking(move || rebuilt(&inbox, run)).await {
        Ok(records) => Ok(records?),
        // Only a runtime that ends drops such a task.
        Err(_) => Err(PollingError::Stopping),
    }
}

fn rebuilt(inbox: &Inbox, run: RunId) -> Result<Vec<SentRecord>, InboxError> {
    match inbox.messages(run, None)? {
        Some(messages) => messages.map(|message| Ok(record(&message?))).collect(),
        None => Ok(Vec::new()),
    }
}

/// A message does not say when its deposit ended, so it counts as free when it began.
fn record(message: &Message) -> SentRecord {
    let id = &message.identity;
    SentRecord {
        seq: id.seq,
        intended_ns: id.intended_ns,
        sent_ns: id.sent_ns,
        freed_ns: id.sent_ns,
        answered_ns: None,
        error: None,
        bytes: message.payload.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use crosstalk_contract::Identity;
    use crosstalk_host::inbox::InboxLimits;
    use crosstalk_measure::Clock;

    use super::*;
    use crate::wire::PARADIGM;

    fn message(run: RunId, seq: u64, payload: &'static [u8]) -> Message {
        let identity =
            Identity { run, sender: "producer".into(), seq, of: 9, intended_ns: 10 * seq, sent_ns: 11 * seq };
        Message { identity, payload: Bytes::from_static(payload) }
    }

    #[tokio::test]
    async fn each_message_that_arrived_has_one_record_by_number() {
        let dir = std::env::temp_dir().join(format!("crosstalk-polling-arrived-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir); // of an earlier process with the same id
        let limits = InboxLimits { bytes_max: 1 << 20, runs_max: 9 };
        let inbox = Inbox::open(dir.clone(), limits, Clock::start()).unwrap();
        let run = RunId::from_low_bits(7);
        assert_eq!(records(&inbox, run).await.unwrap(), []);
        for (seq, payload) in [(3, b"three".as_slice()), (1, b""), (3, b"three")] {
            inbox.received(PARADIGM, "poller", &message(run, seq, payload)).unwrap().finished().unwrap();
        }
        let record = |seq, bytes| SentRecord {
            seq,
            intended_ns: 10 * seq,
            sent_ns: 11 * seq,
            freed_ns: 11 * seq,
            answered_ns: None,
            error: None,
            bytes,
        };
        assert_eq!(records(&inbox, run).await.unwrap(), [record(1, 0), record(3, 5)]);
        let _ = std::fs::remove_dir_all(&dir); // best effort
    }
}
