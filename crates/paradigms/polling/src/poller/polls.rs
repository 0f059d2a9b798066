//! The attempts of one run: when the next one is due, what each brought, and when there is nothing left to ask for.
//! It does not know how the messages come into the mailbox.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crosstalk_contract::{
    Message, RunId,
    frame::{MESSAGES_MEDIA_TYPE, OVERHEAD_MAX, PAYLOAD_MAX},
    record::ExchangeRecord,
    report::{RunReport, RunState},
    units::shown,
};
use crosstalk_host::{
    Host, Receiver,
    peers::{PeerError, Peers, unreachable_peer},
};
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::{Instant as Tick, sleep, sleep_until};
use tracing::warn;

use super::{PRODUCER, RETRY_PAUSE, schedule::Schedule};
use crate::{
    PollingError,
    wire::{self, DEPOSIT, Deposit, HELD, LAST, MAILBOX, MORE, PARADIGM},
};

/// Longest time for an answer beyond the time it was asked to be held.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer that is read: `polling.batch_bytes` at its highest, and the frames around as many payloads as
/// that is likely to hold; or one largest message.
const BODY_MAX: usize = (64 << 20) + 100_000 * OVERHEAD_MAX + PAYLOAD_MAX;
/// Most attempts in one run: each leaves a record of 32 B.
const ATTEMPTS_MAX: usize = 1_000_000;
/// For how long the last question is held, which waits for the producer to end its deposit.
const LEAVE_WAIT: Duration = Duration::from_secs(1);
/// How often it is asked again.
const LEAVE_TRIES: u32 = 5;

/// The attempts of one run.
pub(super) struct Polls<'a> {
    host: &'a Host,
    receiver: &'a Receiver,
    run: RunId,
    schedule: Schedule,
    away_max: Duration,
    url: String,
    /// Everything up to this offset is noted in the inbox.
    after: u64,
    /// The producer said that the deposit is over, when the mailbox knew nothing of the run.
    told_over: bool,
    /// The last answer could not bring all there was.
    more: bool,
    away_since: Option<Instant>,
    pub(super) figures: Figures,
}

/// What the attempts came to.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) attempts: Vec<ExchangeRecord>,
    pub(super) empty: u64,
    pub(super) failed: u64,
    pub(super) held: u64,
    pub(super) messages: u64,
    /// Heads and bodies of all answers, also of those that brought nothing.
    pub(super) answer_bytes: u64,
}

struct Answer {
    messages: Vec<Message>,
    head_bytes: u64,
    body_bytes: u64,
    last: u64,
    deposit: Option<Deposit>,
    held: bool,
    more: bool,
}

impl<'a> Polls<'a> {
    pub(super) fn new(
        host: &'a Host,
        receiver: &'a Receiver,
        run: RunId,
        schedule: Schedule,
        away_max: Duration,
    ) -> Result<Self, PollingError> {
        let url = host.peers().url(PRODUCER).map_err(PollingError::Deposit)?;
        let url = format!("{url}{MAILBOX}");
        let figures = Figures::default();
        Ok(Self {
            host,
            receiver,
            run,
            schedule,
            away_max,
            url,
            after: 0,
            told_over: false,
            more: false,
            away_since: None,
            figures,
        })
    }

    /// Polls until `expected` messages are here or no more can come.
    pub(super) async fn go(&mut self, expected: u64) -> Result<(), PollingError> {
        while self.figures.messages < expected {
            if self.figures.attempts.len() >= ATTEMPTS_MAX {
                return Err(PollingError::TooMany(ATTEMPTS_MAX));
            }
            let began = Tick::now();
            if self.attempt().await? == Deposit::Over {
                break;
            }
            // Who asks on a schedule waits for its next turn, unless it knows that more is there.
            if let Schedule::Short { interval } = self.schedule
                && self.figures.messages < expected
                && !self.more
            {
                sleep_until(began + interval).await;
            }
        }
        Ok(())
    }

    /// Confirms what came last, so that the mailbox may drop it, and waits until the producer has closed its
    /// accounts of the deposit. It asks for nothing, so it is none of the attempts.
    pub(super) async fn leave(&self) {
        for _ in 0..LEAVE_TRIES {
            match self.ask(Some(LEAVE_WAIT)).await {
                Ok(Answer { deposit: Some(Deposit::Open), .. }) => {}
                Ok(_) => return,
                Err(error) => return warn!("run {}: cannot confirm the last messages: {error}", self.run),
            }
        }
    }

    async fn attempt(&mut self) -> Result<Deposit, PollingError> {
        let began_ns = self.host.clock().now_ns();
        let wait = self.schedule.wait().filter(|_| !self.told_over);
        let answer = match self.ask(wait).await {
            Ok(answer) => answer,
            Err(AskError::Peer(source)) => return self.failed(source).await,
            Err(AskError::Form(reason)) => {
                self.figures.failed += 1;
                return Err(PollingError::Answer(reason));
            }
        };
        let answered_ns = self.host.clock().now_ns();
        self.away_since = None;
        let messages = answer.messages.len() as u64;
        self.figures.attempts.push(ExchangeRecord { began_ns, answered_ns, messages, bytes: answer.body_bytes });
        self.figures.answer_bytes += answer.head_bytes + answer.body_bytes;
        self.figures.held += u64::from(answer.held);
        self.figures.empty += u64::from(messages == 0);
        self.tell(&answer, Duration::from_nanos(answered_ns.saturating_sub(began_ns)));
        self.take(&answer.messages).await?;
        self.after = answer.last;
        self.more = answer.more;
        match answer.deposit {
            Some(deposit) => Ok(deposit),
            // All of it may have come between that answer and the producer's word: only a further attempt tells.
            None if messages == 0 && self.told_over => Ok(Deposit::Over),
            None if messages == 0 => self.ask_whether_over().await,
            None => Ok(Deposit::Open),
        }
    }

    /// Notes every message in the inbox; only then may the next poll confirm them. Who works slowly polls late.
    async fn take(&mut self, messages: &[Message]) -> Result<(), PollingError> {
        let mut arrived = Vec::with_capacity(messages.len());
        for message in messages {
            arrived.push(self.receiver.arrived(PARADIGM, self.host.name(), message)?);
        }
        self.figures.messages += messages.len() as u64;
        for arrived in arrived {
            let turn = self.receiver.turn().await;
            let receiver = self.receiver.clone();
            self.host.spawn(async move {
                if let Err(error) = receiver.work(arrived, turn).await {
                    warn!("a message was worked on, but that cannot be noted: {error}");
                }
            });
        }
        Ok(())
    }

    async fn failed(&mut self, source: PeerError) -> Result<Deposit, PollingError> {
        self.more = false;
        self.figures.failed += 1;
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.away_max {
            return Err(PollingError::Away { waited: since.elapsed(), source });
        }
        if self.figures.failed == 1 {
            warn!("run {}: an attempt failed, trying on: {source}", self.run);
        }
        if self.schedule.wait().is_some() {
            sleep(RETRY_PAUSE).await;
        }
        Ok(Deposit::Open)
    }

    /// How the deposit stands, when the mailbox knows nothing of the run: it has not begun, or all of it expired,
    /// or the producer was restarted.
    async fn ask_whether_over(&mut self) -> Result<Deposit, PollingError> {
        let url = format!("{}/runs/{}", self.host.peers().url(PRODUCER).map_err(PollingError::Deposit)?, self.run);
        let asked = self.host.peers().client().get(url).timeout(ANSWER_MAX);
        match Peers::json::<RunReport>(PRODUCER, asked).await {
            Ok(report) => {
                self.told_over = report.state != RunState::Sending;
                Ok(Deposit::Open)
            }
            Err(PeerError::Refused { status: 404, .. }) => Err(PollingError::Forgotten(self.run)),
            Err(error) => self.failed(error).await,
        }
    }

    async fn ask(&self, wait: Option<Duration>) -> Result<Answer, AskError> {
        let mut request = self.host.peers().client().get(&self.url).query(&[("after", self.after)]);
        request = request.query(&[("run", self.run.to_string())]).timeout(wait.unwrap_or_default() + ANSWER_MAX);
        if let Some(wait) = wait {
            request = request.query(&[("wait", crosstalk_contract::units::format_duration(wait))]);
        }
        let mut response = Peers::checked(PRODUCER, request.header("accept", MESSAGES_MEDIA_TYPE)).await?;
        let head_bytes = head_len(response.status(), response.headers());
        let headers = response.headers();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let last = header(LAST).and_then(|text| text.parse().ok());
        let last = last.ok_or_else(|| AskError::Form(format!("header {LAST}: expected an offset")))?;
        let deposit = header(DEPOSIT).and_then(Deposit::from_word);
        let (held, more) = (header(HELD).is_some(), header(MORE).is_some());
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|source| unreachable_peer(PRODUCER, source))? {
            if body.len() + piece.len() > BODY_MAX {
                return Err(AskError::Form(format!("over {BODY_MAX} B")));
            }
            body.extend_from_slice(&piece);
        }
        let body: Bytes = body.freeze();
        let body_bytes = body.len() as u64;
        let messages = wire::decode(body).map_err(|error| AskError::Form(error.to_string()))?;
        Ok(Answer { messages, head_bytes, body_bytes, last, deposit, held, more })
    }

    fn tell(&self, answer: &Answer, took: Duration) {
        let Some(first) = answer.messages.first() else { return };
        let (attempt, count) = (self.figures.attempts.len(), answer.messages.len());
        self.host.narrate(self.run, first.identity.seq, || {
            let held = if answer.held { "held open" } else { "answered at once, after" };
            format!(
                "asked the mailbox for run {}, attempt {attempt}: {held} {}, {}",
                self.run,
                shown(took),
                wire::counted(count as u64)
            )
        });
    }
}

/// Length of an answer's head as HTTP/1.1 writes it. The client does not show the bytes themselves, but the words and
/// headers that they say; the lengths between the pieces of a chunked body are not in it.
fn head_len(status: StatusCode, headers: &HeaderMap) -> u64 {
    let line = "HTTP/1.1 200 \r\n".len() + status.canonical_reason().map_or(0, str::len);
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + ": \r\n".len() + value.len();
    (line + headers.iter().map(header).sum::<usize>() + "\r\n".len()) as u64
}

/// Why an attempt brought nothing to go by.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the answer cannot be read: {0}")]
    Form(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_as_long_as_it_is_written() {
        let mut headers = HeaderMap::new();
        headers.append("crosstalk-last", HeaderValue::from_static("12"));
        headers.append("vary", HeaderValue::from_static("accept"));
        headers.append("vary", HeaderValue::from_static("origin"));
        let written = "HTTP/1.1 200 OK\r\ncrosstalk-last: 12\r\nvary: accept\r\nvary: origin\r\n\r\n";
        assert_eq!(head_len(StatusCode::OK, &headers), written.len() as u64);
    }
}
