//! The accounts against hand-made and generated evidence.

use proptest::prelude::*;

use super::*;

fn sent(seq: u64, freed_ns: u64, answered: bool) -> SentRecord {
    SentRecord {
        seq,
        intended_ns: 100,
        sent_ns: 100,
        freed_ns,
        answered_ns: answered.then_some(freed_ns),
        error: None,
        bytes: 1,
    }
}

fn got(seq: u64, processed_ns: Option<u64>, copies: u64, position: u64) -> ReceivedRecord {
    ReceivedRecord { seq, received_ns: 150, processed_ns, copies, position }
}

fn receiver(records: Vec<ReceivedRecord>) -> ReceiverReport {
    ReceiverReport {
        receiver: "consumer".into(),
        received: records.len() as u64,
        processed: records.iter().filter(|r| r.processed_ns.is_some()).count() as u64,
        duplicates: 0,
        in_progress: 0,
        records,
    }
}

fn accounts(sent: &[SentRecord], received: Option<&[ReceiverReport]>, kept: u64) -> RunReport {
    accounts_of(sent, received, kept, false)
}

fn accounts_of(sent: &[SentRecord], received: Option<&[ReceiverReport]>, kept: u64, intermediary: bool) -> RunReport {
    report(Evidence {
        run: RunId::from_low_bits(1),
        paradigm: "test",
        over: "",
        sender: "producer",
        receiver: "consumer",
        state: RunState::Complete,
        load: String::new(),
        intended: sent.len() as u64,
        sent,
        received,
        kept: Some(kept),
        intermediary,
        exchanges: None,
        failure: None,
        details: serde_json::Map::new(),
    })
}

#[test]
fn a_sender_that_is_always_freed_by_the_receivers_answer_is_synchronous_at_both_levels() {
    let report = accounts(
        &[sent(1, 300, true), sent(2, 310, true)],
        Some(&[receiver(vec![got(1, Some(200), 1, 1), got(2, Some(310), 1, 2)])]),
        0,
    );
    assert_eq!(report.observed.summary, Mode::Synchronous);
    assert_eq!(report.waits.held_end_to_end, 2);
    assert_eq!((report.messages.delivered, report.messages.lost), (2, 0));
}

#[test]
fn an_answer_from_the_neighbour_before_the_receiver_is_done_is_both() {
    let report = accounts(&[sent(1, 120, true)], Some(&[receiver(vec![got(1, Some(200), 1, 1)])]), 0);
    assert_eq!((report.observed.hop, report.observed.end_to_end), (Mode::Synchronous, Mode::Asynchronous));
    assert_eq!(report.observed.summary, Mode::Both);
    assert_eq!(report.waits.end_to_end.max_ms, 0.0);
}

#[test]
fn nobody_answering_is_asynchronous() {
    let report = accounts(&[sent(1, 101, false)], Some(&[receiver(vec![got(1, Some(200), 1, 1)])]), 0);
    assert_eq!(report.observed.summary, Mode::Asynchronous);
}

#[test]
fn a_receiver_that_was_faster_than_the_sender_does_not_make_it_wait() {
    let fast = [receiver(vec![got(1, Some(110), 1, 1)])];
    let unanswered = accounts(&[sent(1, 120, false)], Some(&fast), 0);
    assert_eq!(unanswered.observed.end_to_end, Mode::Asynchronous, "nothing was waited for");
    let through_a_broker = accounts_of(&[sent(1, 120, true)], Some(&fast), 0, true);
    assert_eq!(through_a_broker.observed.end_to_end, Mode::Unknown, "the broker's answer or the receiver's work?");
}

#[test]
fn what_was_never_finished_is_lost_and_what_the_broker_keeps_is_waiting() {
    let all: Vec<_> = (1..=6).map(|seq| sent(seq, 120, true)).collect();
    let received = [receiver(vec![got(1, Some(200), 2, 1), got(3, Some(210), 1, 2), got(2, None, 1, 3)])];
    let report = accounts(&all, Some(&received), 3);
    let Totals { delivered, duplicated, waiting, lost, unfinished, reordered, .. } = report.messages;
    assert_eq!((delivered, duplicated, waiting, lost, unfinished, reordered), (2, 1, 3, 1, 1, 1));
    let ranges: Vec<_> = report.missing.iter().map(|m| (m.from, m.through)).collect();
    assert_eq!(ranges, [(2, 2), (4, 6)]);
}

#[test]
fn a_receiver_that_could_not_be_asked_makes_nothing_delivered_and_nothing_lost() {
    let report = accounts(&[sent(1, 120, true)], None, 0);
    assert_eq!((report.messages.delivered, report.messages.lost, report.messages.unknown), (0, 0, 1));
    assert_eq!(report.observed.end_to_end, Mode::Unknown);
}

proptest! {
    #[test]
    fn every_copy_due_is_in_exactly_one_account(
        count in 0u64..60,
        fates in prop::collection::vec(prop::collection::vec(prop::option::of((prop::option::of(0u64..400), 1u64..4)), 60), 1..4),
        kept in 0u64..80,
        asked: bool,
    ) {
        let all: Vec<_> = (1..=count).map(|seq| sent(seq, 120 + seq, seq % 2 == 0)).collect();
        let receivers: Vec<_> = fates.iter().map(|fates| {
            let records = (1..=count).filter_map(|seq| {
                fates[(seq - 1) as usize].map(|(at, copies)| got(seq, at, copies, seq))
            });
            receiver(records.collect())
        }).collect();
        let report = accounts(&all, asked.then_some(&receivers[..]), kept);
        let Totals { expected, delivered, waiting, lost, unknown, .. } = report.messages;
        prop_assert_eq!(expected, delivered + waiting + lost + unknown);
        if asked {
            let really: u64 = receivers.iter().map(|r| r.processed).sum();
            prop_assert_eq!(delivered, really);
            let missing: u64 = report.missing.iter().map(|m| m.through - m.from + 1).sum();
            prop_assert_eq!(missing, expected - delivered);
        } else {
            prop_assert_eq!(delivered, 0);
        }
    }
}
