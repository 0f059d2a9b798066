//! Joins what both ends noted into a report: who got what, how long the sender was held, and what that says
//! about synchronous and asynchronous. It never guesses: what a record does not show is not counted as
//! delivered, and a receiver that could not be asked makes messages unknown, not lost.

use std::collections::{BTreeMap, HashMap};

use crosstalk_contract::{
    RunId,
    record::{ExchangeRecord, ReceivedRecord, ReceiverReport, SentRecord},
    report::{ErrorCount, MISSING_MAX, Missing, Mode, Observed, RunReport, RunState, Totals, Waits},
};

use crate::histogram::{latency, ms};

/// Most different errors that a report lists; the others are counted together.
const ERRORS_MAX: usize = 10;

/// Everything known about a run.
pub struct Evidence<'a> {
    /// The run.
    pub run: RunId,
    /// The paradigm.
    pub paradigm: &'a str,
    /// What it ran over.
    pub over: &'a str,
    /// The node that sent.
    pub sender: &'a str,
    /// The node that should receive.
    pub receiver: &'a str,
    /// How far the run is.
    pub state: RunState,
    /// The load in words.
    pub load: String,
    /// Messages it was asked to send.
    pub intended: u64,
    /// The sender's records, by number.
    pub sent: &'a [SentRecord],
    /// What the receivers say, with records; `None` when they could not be asked.
    pub received: Option<&'a [ReceiverReport]>,
    /// Messages that an intermediary says it still keeps for the receivers; `None` when it cannot say.
    pub kept: Option<u64>,
    /// Whether the neighbour that answers is an intermediary, not the receiver.
    pub intermediary: bool,
    /// Exchanges on the hop, where they are not the messages themselves.
    pub exchanges: Option<&'a [ExchangeRecord]>,
    /// An error that ended the run early.
    pub failure: Option<String>,
    /// Figures of the paradigm's own.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// Draws up the accounts.
#[must_use]
pub fn report(evidence: Evidence<'_>) -> RunReport {
    let receivers = evidence.received.unwrap_or_default();
    let by_seq: Vec<HashMap<u64, &ReceivedRecord>> =
        receivers.iter().map(|r| r.records.iter().map(|record| (record.seq, record)).collect()).collect();
    let processed = |seq: u64| -> Option<u64> {
        let times = by_seq.iter().map(|records| records.get(&seq).and_then(|record| record.processed_ns));
        times.collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    let outcomes: Vec<(&SentRecord, Option<u64>)> =
        evidence.sent.iter().map(|record| (record, processed(record.seq))).collect();
    let first = evidence.sent.iter().map(|record| record.intended_ns).min().unwrap_or(0);
    let last_freed = evidence.sent.iter().map(|record| record.freed_ns).max().unwrap_or(first);
    let last_processed = outcomes.iter().filter_map(|(_, at)| *at).max().unwrap_or(last_freed);
    RunReport {
        run: evidence.run,
        paradigm: evidence.paradigm.to_owned(),
        over: evidence.over.to_owned(),
        sender: evidence.sender.to_owned(),
        receiver: evidence.receiver.to_owned(),
        state: evidence.state,
        messages: totals(&evidence, &by_seq),
        missing: missing(evidence.sent, receivers, &by_seq),
        waits: waits(&outcomes, evidence.exchanges),
        latency: latency(outcomes.iter().filter_map(|(sent, at)| Some((*at)?.saturating_sub(sent.intended_ns)))),
        observed: observed(&outcomes, evidence.exchanges, evidence.intermediary),
        sending_ms: ms(last_freed.saturating_sub(first)),
        total_ms: ms(last_processed.max(last_freed).saturating_sub(first)),
        errors: errors(evidence.sent, evidence.failure),
        load: evidence.load,
        details: evidence.details,
    }
}

fn totals(evidence: &Evidence<'_>, by_seq: &[HashMap<u64, &ReceivedRecord>]) -> Totals {
    let sent = evidence.sent.len() as u64;
    let failed = evidence.sent.iter().filter(|record| record.error.is_some()).count() as u64;
    let receivers = by_seq.len().max(1) as u64;
    let expected = sent * receivers;
    let all = || by_seq.iter().flat_map(|records| records.values());
    let delivered = all().filter(|record| record.processed_ns.is_some()).count() as u64;
    let undelivered = expected.saturating_sub(delivered);
    // What an intermediary says it keeps is neither lost nor unknown, whether the receiver can be asked or not.
    // Only what both the receiver and the intermediary deny is lost.
    let waiting = evidence.kept.unwrap_or(0).min(undelivered);
    let (lost, unknown) = match (evidence.received, evidence.kept) {
        (Some(_), Some(_)) => (undelivered - waiting, 0),
        _ => (0, undelivered - waiting),
    };
    let unfinished = all().filter(|record| record.processed_ns.is_none()).count() as u64;
    Totals {
        intended: evidence.intended,
        sent,
        accepted: sent - failed,
        failed,
        receivers,
        expected,
        delivered,
        duplicated: all().map(|record| record.copies.saturating_sub(1)).sum(),
        reordered: by_seq.iter().map(reordered).sum(),
        waiting,
        lost,
        unfinished: unfinished.min(lost),
        unknown,
        bytes: evidence.sent.iter().map(|record| record.bytes).sum(),
    }
}

fn reordered(records: &HashMap<u64, &ReceivedRecord>) -> u64 {
    let by_position: BTreeMap<u64, u64> = records.values().map(|record| (record.position, record.seq)).collect();
    let mut highest = 0;
    let mut count = 0;
    for seq in by_position.into_values() {
        if seq < highest {
            count += 1;
        }
        highest = highest.max(seq);
    }
    count
}

fn missing(
    sent: &[SentRecord],
    receivers: &[ReceiverReport],
    by_seq: &[HashMap<u64, &ReceivedRecord>],
) -> Vec<Missing> {
    let mut ranges: Vec<Missing> = Vec::new();
    for (receiver, records) in receivers.iter().zip(by_seq) {
        let delivered = |seq| records.get(&seq).is_some_and(|record| record.processed_ns.is_some());
        for seq in sent.iter().map(|record| record.seq).filter(|seq| !delivered(*seq)) {
            let full = ranges.len() == MISSING_MAX;
            match ranges.last_mut() {
                Some(last) if last.receiver == receiver.receiver && last.through + 1 == seq => last.through = seq,
                _ if full => return ranges,
                _ => ranges.push(Missing { receiver: receiver.receiver.clone(), from: seq, through: seq }),
            }
        }
    }
    ranges
}

fn waits(outcomes: &[(&SentRecord, Option<u64>)], exchanges: Option<&[ExchangeRecord]>) -> Waits {
    let held = |(sent, at): &(&SentRecord, Option<u64>)| {
        at.map(|at| if held_until(sent, at) { sent.freed_ns.saturating_sub(sent.sent_ns) } else { 0 })
    };
    Waits {
        hop: match exchanges {
            Some(exchanges) => latency(exchanges.iter().map(|e| e.answered_ns.saturating_sub(e.began_ns))),
            None => latency(outcomes.iter().map(|(sent, _)| sent.freed_ns.saturating_sub(sent.sent_ns))),
        },
        end_to_end: latency(outcomes.iter().filter_map(held)),
        held_end_to_end: outcomes.iter().filter(|(sent, at)| at.is_some_and(|at| held_until(sent, at))).count() as u64,
    }
}

/// Whether the sender may have waited for the receiver, which finished at `processed_ns`: it was freed after that, by
/// an answer. Without an answer there was nothing to wait for, whoever was faster.
fn held_until(sent: &SentRecord, processed_ns: u64) -> bool {
    sent.answered_ns.is_some() && sent.freed_ns >= processed_ns
}

/// One sender that was free too early refutes "the sender waits"; none in all that were seen supports it, unless the
/// answer came from an intermediary: then a receiver that was faster than that answer looks the same, and the evidence
/// does not tell.
fn observed(
    outcomes: &[(&SentRecord, Option<u64>)],
    exchanges: Option<&[ExchangeRecord]>,
    intermediary: bool,
) -> Observed {
    let accepted = || outcomes.iter().filter(|(sent, _)| sent.error.is_none());
    let (hop_exchanges, hop_answered) = match exchanges {
        Some(exchanges) => (exchanges.len() as u64, exchanges.len() as u64),
        None => {
            let answered = |sent: &SentRecord| sent.answered_ns.is_some_and(|at| sent.freed_ns >= at);
            (accepted().count() as u64, accepted().filter(|(sent, _)| answered(sent)).count() as u64)
        }
    };
    let compared = accepted().filter(|(_, at)| at.is_some()).count() as u64;
    let freed_before_processed =
        accepted().filter(|(sent, at)| at.is_some_and(|at| !held_until(sent, at))).count() as u64;
    let mode = |seen: u64, early: u64| match (seen, early) {
        (0, _) => Mode::Unknown,
        (_, 0) => Mode::Synchronous,
        _ => Mode::Asynchronous,
    };
    let hop = mode(hop_exchanges, hop_exchanges - hop_answered);
    let end_to_end = match mode(compared, freed_before_processed) {
        Mode::Synchronous if intermediary => Mode::Unknown,
        mode => mode,
    };
    let summary = match (hop, end_to_end) {
        (Mode::Unknown, _) | (_, Mode::Unknown) => Mode::Unknown,
        (hop, end_to_end) if hop == end_to_end => hop,
        _ => Mode::Both,
    };
    Observed { hop, end_to_end, summary, hop_exchanges, hop_answered, compared, freed_before_processed }
}

fn errors(sent: &[SentRecord], failure: Option<String>) -> Vec<ErrorCount> {
    let mut counts: Vec<ErrorCount> = failure.into_iter().map(|error| ErrorCount { error, count: 1 }).collect();
    let mut others = 0;
    for error in sent.iter().filter_map(|record| record.error.as_deref()) {
        let full = counts.len() == ERRORS_MAX;
        match counts.iter_mut().find(|known| known.error == error) {
            Some(known) => known.count += 1,
            None if full => others += 1,
            None => counts.push(ErrorCount { error: error.to_owned(), count: 1 }),
        }
    }
    if others > 0 {
        counts.push(ErrorCount { error: "other errors".to_owned(), count: others });
    }
    counts
}

#[cfg(test)]
mod tests;
