//! Starts each message of a run when it is due, and notes what happened to it. It does not know how a
//! message travels: that is a closure of the paradigm.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use crosstalk_contract::{Identity, Message, RunId, record::SentRecord};
use futures_util::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use crate::{Clock, Load};

/// How one message's exchange with the direct neighbour ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// When the sender was free to go on, ns since the Unix epoch.
    pub freed_ns: u64,
    /// When the neighbour's answer was there; `None` when nothing answers in this paradigm.
    pub answered_ns: Option<u64>,
    /// Why the message was not accepted.
    pub error: Option<String>,
}

impl Exchange {
    /// Freed now, by an answer.
    #[must_use]
    pub fn answered(clock: &Clock) -> Self {
        let now = clock.now_ns();
        Self { freed_ns: now, answered_ns: Some(now), error: None }
    }

    /// Freed now, with nobody answering.
    #[must_use]
    pub fn unanswered(clock: &Clock) -> Self {
        Self { freed_ns: clock.now_ns(), answered_ns: None, error: None }
    }

    /// Freed now, by an error.
    #[must_use]
    pub fn failed(clock: &Clock, error: impl Into<String>) -> Self {
        Self { freed_ns: clock.now_ns(), answered_ns: None, error: Some(error.into()) }
    }
}

/// The sender's records of one run, readable while it goes on.
#[derive(Debug, Clone, Default)]
pub struct SentLedger(Arc<Mutex<Vec<SentRecord>>>);

impl SentLedger {
    fn lock(&self) -> MutexGuard<'_, Vec<SentRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what became of one message.
    pub fn push(&self, record: SentRecord) {
        self.lock().push(record);
    }

    /// How many messages are through.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records so far, by number.
    #[must_use]
    pub fn snapshot(&self) -> Vec<SentRecord> {
        let mut records = self.lock().clone();
        records.sort_unstable_by_key(|record| record.seq);
        records
    }
}

/// One run's messages, about to be sent.
pub struct Drive<'a> {
    /// This process's clock.
    pub clock: Clock,
    /// How many and when.
    pub load: Load,
    /// The run they belong to.
    pub run: RunId,
    /// The node that sends.
    pub sender: &'a str,
    /// Where the records go.
    pub ledger: &'a SentLedger,
    /// Ends the run early; messages under way are still awaited.
    pub cancel: &'a CancellationToken,
}

impl Drive<'_> {
    /// Sends payloads from `source` until the load is met, the source ends, or the run is cancelled.
    ///
    /// `start` hands one message to the transport. It is awaited before the next message starts, so that
    /// messages leave in order; the future that it returns ends when the sender is free, and many of those
    /// are under way at once as far as the load allows.
    pub async fn send<S, F, H, C>(&self, source: S, mut start: F)
    where
        S: Stream<Item = Bytes>,
        F: FnMut(Message) -> H,
        H: Future<Output = C>,
        C: Future<Output = Exchange>,
    {
        let mut source = pin!(source);
        let mut under_way = FuturesUnordered::new();
        let start_ns = self.clock.now_ns();
        let mut seq = 0;
        let mut open = true;
        while open || !under_way.is_empty() {
            let may_start = open && under_way.len() < self.load.in_flight_max();
            tokio::select! {
                biased;
                () = self.cancel.cancelled(), if open => open = false,
                Some(record) = under_way.next(), if !under_way.is_empty() => self.ledger.push(record),
                next = self.next_due(source.as_mut(), start_ns, seq + 1), if may_start => {
                    let Some((payload, intended_ns)) = next else { open = false; continue };
                    seq += 1;
                    let sent_ns = self.clock.now_ns();
                    let message = self.message(seq, intended_ns.unwrap_or(sent_ns), sent_ns, payload);
                    let record = record_of(&message);
                    let freed = start(message).await;
                    under_way.push(freed.map(|exchange| completed(record, exchange)));
                }
            }
        }
    }

    /// Waits until message `seq` is due and takes its payload; `None` when there are no more. Dropping it
    /// early loses nothing: the payload is taken last, in one step.
    async fn next_due<S: Stream<Item = Bytes>>(
        &self,
        mut source: Pin<&mut S>,
        start_ns: u64,
        seq: u64,
    ) -> Option<(Bytes, Option<u64>)> {
        if seq > self.load.messages {
            return None;
        }
        let due_ns = self.load.due_ns(start_ns, seq);
        if let Some(due_ns) = due_ns.filter(|due_ns| *due_ns > self.clock.now_ns()) {
            tokio::time::sleep_until(self.clock.instant_of(due_ns).into()).await;
        }
        source.next().await.map(|payload| (payload, due_ns))
    }

    fn message(&self, seq: u64, intended_ns: u64, sent_ns: u64, payload: Bytes) -> Message {
        let identity = Identity {
            run: self.run,
            sender: self.sender.to_owned(),
            seq,
            of: self.load.messages,
            intended_ns,
            sent_ns,
        };
        Message { identity, payload }
    }
}

fn record_of(message: &Message) -> SentRecord {
    SentRecord {
        seq: message.identity.seq,
        intended_ns: message.identity.intended_ns,
        sent_ns: message.identity.sent_ns,
        freed_ns: message.identity.sent_ns,
        answered_ns: None,
        error: None,
        bytes: message.payload.len() as u64,
    }
}

fn completed(record: SentRecord, exchange: Exchange) -> SentRecord {
    let Exchange { freed_ns, answered_ns, error } = exchange;
    SentRecord { freed_ns, answered_ns, error, ..record }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use futures_util::stream;

    use super::*;
    use crate::Pace;

    async fn drive(load: Load, work: Duration) -> (Vec<SentRecord>, Vec<u64>, usize) {
        let clock = Clock::start();
        let (ledger, cancel) = (SentLedger::default(), CancellationToken::new());
        let drive =
            Drive { clock, load, run: RunId::from_low_bits(1), sender: "test", ledger: &ledger, cancel: &cancel };
        let (order, now, most) = (RefCell::new(Vec::new()), RefCell::new(0usize), RefCell::new(0usize));
        let source = stream::repeat(Bytes::from_static(b"x"));
        drive
            .send(source, |message| {
                order.borrow_mut().push(message.identity.seq);
                *now.borrow_mut() += 1;
                let in_flight = *now.borrow();
                most.replace_with(|most| in_flight.max(*most));
                let now = &now;
                std::future::ready(async move {
                    tokio::time::sleep(work).await;
                    *now.borrow_mut() -= 1;
                    Exchange::answered(&clock)
                })
            })
            .await;
        (ledger.snapshot(), order.into_inner(), most.into_inner())
    }

    #[tokio::test]
    async fn a_closed_loop_keeps_its_number_in_flight_and_starts_in_order() {
        let load = Load { messages: 20, pace: Pace::Closed { in_flight: 3 } };
        let (records, order, most) = drive(load, Duration::from_millis(1)).await;
        assert_eq!(order, (1..=20).collect::<Vec<_>>());
        assert_eq!(records.len(), 20);
        assert_eq!(most, 3);
    }

    #[tokio::test]
    async fn an_open_loop_does_not_wait_for_slow_exchanges() {
        let load = Load { messages: 50, pace: Pace::Open("1000000/s".parse().unwrap()) };
        let (records, _, most) = drive(load, Duration::from_millis(50)).await;
        assert_eq!(records.len(), 50);
        assert_eq!(most, 50);
        assert!(records.windows(2).all(|pair| pair[0].intended_ns < pair[1].intended_ns));
    }
}
