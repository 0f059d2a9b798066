//! Work that takes longer than one turn: nobody waits for it who need not.

use super::*;
use crate::engine::upkeep::TURN_MESSAGES;

/// More than is done in four turns.
const MANY: usize = 4 * TURN_MESSAGES + 10;

fn filled(arguments: &[(&str, AMQPValue)]) -> Bench {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("many", arguments);
    for _ in 0..MANY {
        bench.send("many", Properties::default(), b"x");
    }
    bench
}

/// Runs turns until nothing is left to do now, and counts them.
fn turns(bench: &mut Bench, now: u64) -> usize {
    let mut turns = 0;
    while bench.engine.next_deadline().is_some_and(|at| at.0 <= now) {
        bench.at(now);
        turns += 1;
    }
    turns
}

fn answers(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Send { outbound: Outbound::Method { .. }, .. })).count()
}

#[test]
fn messages_expire_in_turns_and_none_of_them_is_delivered() {
    let mut bench = filled(&[("x-message-ttl", number(10))]);
    bench.at(11);
    assert_eq!(bench.depth("many"), Some((MANY - TURN_MESSAGES, 0)));
    let waiting = bench.get("many");
    assert_eq!(answers(&waiting), 0, "an answer before it is known that the queue is empty: {waiting:?}");
    let mut effects = Vec::new();
    while bench.engine.next_deadline().is_some() {
        effects.extend(bench.at(11));
    }
    assert_eq!((answers(&effects), bench.depth("many")), (1, Some((0, 0))));
}

#[test]
fn dead_letters_are_made_in_turns_and_all_arrive() {
    let arguments =
        [("x-message-ttl", number(10)), ("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("q"))];
    let mut bench = filled(&arguments);
    assert!(turns(&mut bench, 10) > 2);
    assert_eq!((bench.depth("many"), bench.depth("q")), (Some((0, 0)), Some((MANY, 0))));
}

#[test]
fn a_purge_is_answered_when_it_is_done_and_holds_back_only_its_channel() {
    let mut bench = filled(&[]);
    let purge =
        |queue: &str| AMQPClass::Queue(queue::AMQPMethod::Purge(queue::Purge { queue: queue.into(), nowait: false }));
    assert_eq!(answers(&bench.method(PUBLISHER, purge("many"))), 0);
    assert_eq!(bench.depth("many"), Some((0, 0)));
    assert_eq!(answers(&bench.declare("behind")), 0);
    assert_eq!(answers(&bench.consume(CONSUMER, "c", true)), 1);
    let mut effects = Vec::new();
    while bench.engine.next_deadline().is_some() {
        effects.extend(bench.at(0));
    }
    // The purge's answer, then that of what came behind it.
    let [Effect::Send { outbound: Outbound::Method { method, .. }, .. }, Effect::Send { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    let count = u32::try_from(MANY).unwrap();
    let ok = AMQPClass::Queue(queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count: count }));
    assert_eq!(**method, ok);
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn a_deleted_queue_is_gone_at_once_and_its_messages_in_turns() {
    let mut bench = filled(&[]);
    assert_eq!((answers(&bench.delete("many")), bench.depth("many")), (1, None));
    assert!(bench.engine.held_bytes() > 0);
    assert!(turns(&mut bench, 0) > 1);
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn who_deletes_a_queue_it_consumes_from_hears_of_the_deletion_first() {
    let mut bench = Bench::new(Limits::default());
    bench.consume(PUBLISHER, "c", true);
    let effects = bench.delete("q");
    let methods: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Send { outbound: Outbound::Method { method, .. }, .. } => method.get_amqp_class_id(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(methods, [50, 60]);
}
