//! Messages whose content is on disk only when they expire or are rejected.

use super::disk::Disk;
use super::*;
use crate::store::TopologyChange;

const MESSAGES: u8 = 200;

/// The queue `paged`, full of messages most of which have left memory; dead letters go to `dead`.
fn paged() -> (Bench, Disk) {
    let mut bench =
        Bench { engine: Engine::new(Limits { resident_bytes: 1, ..Limits::default() }, &["/".into()], 1, true) };
    let mut disk = Disk::default();
    bench.connect(PUBLISHER);
    bench.connect(CONSUMER);
    let to_dead = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))];
    for (queue, arguments) in [("dead", &to_dead[..0]), ("paged", &to_dead[..])] {
        let effects = bench.declare_with(queue, arguments);
        disk.serve(&mut bench, effects);
    }
    for body in 0..MESSAGES {
        let expiration = Some("1000");
        let effects =
            bench.send("paged", Properties { persistent: true, expiration, ..Properties::default() }, &[body]);
        disk.serve(&mut bench, effects);
    }
    assert!(bench.engine.queues.values().any(|queue| queue.is_missing_at(100)), "nothing has left memory");
    (bench, disk)
}

/// What is in `dead`, in order.
fn dead(bench: &mut Bench, disk: &mut Disk) -> Vec<u8> {
    let mut bodies = Vec::new();
    loop {
        let effects = bench.get("dead");
        let effects = disk.serve(bench, effects);
        match &effects[..] {
            [Effect::Send { outbound: Outbound::GetOk { message, .. }, .. }] => bodies.push(message.content.body()[0]),
            _ => return bodies,
        }
    }
}

#[test]
fn expired_messages_are_read_before_they_become_dead_letters() {
    let (mut bench, mut disk) = paged();
    let effects = bench.at(1000);
    assert_eq!(bench.depth("paged"), Some((0, 0)), "what has expired does not count as ready");
    disk.serve(&mut bench, effects);
    assert_eq!(dead(&mut bench, &mut disk), (0..MESSAGES).collect::<Vec<_>>());
    assert_eq!((disk.held, bench.engine.entries), (vec![], 0));
}

#[test]
fn rejected_messages_are_read_again() {
    let (mut bench, mut disk) = paged();
    let effects = bench.consume_from("paged", "c");
    disk.serve(&mut bench, effects);
    assert_eq!(bench.depth("paged"), Some((0, usize::from(MESSAGES))));
    let rejected = bench.nack(0, true, false);
    // A crash now must find them in the one queue or the other.
    assert_eq!(disk.held.len(), usize::from(MESSAGES));
    disk.serve(&mut bench, rejected);
    assert_eq!(dead(&mut bench, &mut disk), (0..MESSAGES).collect::<Vec<_>>());
    assert_eq!((disk.held, bench.engine.entries), (vec![], 0));
}

#[test]
fn a_queue_is_deleted_when_its_dead_letters_are_out() {
    let (mut bench, mut disk) = paged();
    let effects = bench.at(1000);
    let deleted = bench.delete("paged");
    assert!(deleted.is_empty() && bench.depth("paged").is_some(), "deleted before its messages were read");
    let answered = disk.serve(&mut bench, effects);
    assert_eq!((answered.len(), bench.depth("paged")), (1, None));
    assert_eq!(dead(&mut bench, &mut disk).len(), usize::from(MESSAGES));
    assert!(matches!(disk.changes.last(), Some(TopologyChange::QueueDeleted(_))));
}
