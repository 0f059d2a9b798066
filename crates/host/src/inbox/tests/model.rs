//! Random sequences of everything that can happen to an inbox, killed in between, against a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{restart::killed_and_restarted, *};

#[derive(Debug, Clone)]
enum Step {
    Receive { run: u64, receiver: usize, seq: u64, payload: Vec<u8> },
    Finish(prop::sample::Index),
    Drop(prop::sample::Index),
    Kill,
}

fn any_step() -> impl Strategy<Value = Step> {
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        6 => (1..=2_u64, 0..3_usize, 1..=6_u64, payload)
            .prop_map(|(run, receiver, seq, payload)| Step::Receive { run, receiver, seq, payload }),
        4 => any::<prop::sample::Index>().prop_map(Step::Finish),
        2 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => Just(Step::Kill),
    ]
}

const RECEIVERS: [&str; 3] = ["c", "a", "b"];

/// What a receiver got of one message.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    payload: Vec<u8>,
    copies: u64,
    processed: bool,
    position: u64,
}

type Model = BTreeMap<(u64, &'static str), BTreeMap<u64, Got>>;

fn check(inbox: &Inbox, model: &Model, at_work: &[(Arrival, u64, &str, u64)]) {
    for id in 1..=2 {
        let expected: BTreeMap<_, _> = model.iter().filter(|((run, _), _)| *run == id).collect();
        let report = inbox.report(run(id), None, true).unwrap();
        assert_eq!(report.is_some(), !expected.is_empty());
        let Some(report) = report else { continue };
        assert!(report.receivers.iter().map(|r| r.receiver.as_str()).eq(expected.keys().map(|(_, name)| *name)));
        for (receiver, ((_, name), messages)) in report.receivers.iter().zip(expected) {
            let in_progress = at_work.iter().filter(|(_, run, who, _)| *run == id && who == name).count() as u64;
            let kept = kept(inbox, run(id), Some(name));
            assert_eq!(receiver.in_progress, in_progress);
            assert_eq!(receiver.received, messages.len() as u64);
            assert_eq!(receiver.processed, messages.values().filter(|got| got.processed).count() as u64);
            assert_eq!(receiver.duplicates, messages.values().map(|got| got.copies - 1).sum::<u64>());
            let seen = receiver.records.iter().zip(kept).map(|(record, message)| {
                assert_eq!(record.seq, message.identity.seq);
                let (payload, processed) = (message.payload.to_vec(), record.processed_ns.is_some());
                (record.seq, Got { payload, copies: record.copies, processed, position: record.position })
            });
            assert_eq!(seen.collect::<BTreeMap<_, _>>(), *messages);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_inbox_is_what_happened_to_it(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut dir = TestDir::new();
        let mut inbox = dir.open();
        let (mut model, mut at_work) = (Model::new(), Vec::new());
        for step in steps {
            match step {
                Step::Receive { run: id, receiver, seq, payload } => {
                    let name = RECEIVERS[receiver];
                    let arrival = inbox.received("pubsub", name, &message(run(id), seq, &payload)).unwrap();
                    let messages = model.entry((id, name)).or_default();
                    let position = messages.len() as u64 + 1;
                    let got = messages.entry(seq).or_insert(Got { payload, copies: 0, processed: false, position });
                    got.copies += 1;
                    assert_eq!(arrival.copy, got.copies);
                    at_work.push((arrival, id, name, seq));
                }
                Step::Finish(which) if !at_work.is_empty() => {
                    let (arrival, id, name, seq) = at_work.remove(which.index(at_work.len()));
                    arrival.finished().unwrap();
                    model.get_mut(&(id, name)).unwrap().get_mut(&seq).unwrap().processed = true;
                }
                Step::Drop(which) if !at_work.is_empty() => {
                    drop(at_work.remove(which.index(at_work.len())));
                }
                Step::Finish(_) | Step::Drop(_) => {}
                Step::Kill => {
                    let before = inbox.runs();
                    at_work.clear();
                    (dir, inbox) = killed_and_restarted(&dir);
                    assert_eq!(inbox.runs().len(), before.len());
                }
            }
            check(&inbox, &model, &at_work);
        }
        drop(dir);
    }
}
