//! Examples and properties of the mailbox, against a model that keeps everything in a list.

use bytes::Bytes;
use crosstalk_contract::Identity;
use proptest::prelude::*;

use super::{shelf::NoRoom, *};

const RETENTION: Duration = Duration::from_secs(600);
const ALL: Batch = Batch { messages: 1000, bytes: 1 << 20 };
const LONG: Duration = Duration::from_secs(60);

fn run(number: u64) -> RunId {
    RunId::from_low_bits(number)
}

fn message(of: u64, seq: u64, size: usize) -> Message {
    let identity = Identity { run: run(of), sender: "producer".into(), seq, of: 0, intended_ns: 0, sent_ns: 0 };
    Message { identity, payload: Bytes::from(vec![b'x'; size]) }
}

fn shelf(messages: usize, bytes: u64) -> Shelf {
    Shelf::new(Limits { messages, bytes, retention: RETENTION })
}

fn offsets(found: &Found) -> Vec<u64> {
    found.messages.iter().map(|(offset, _)| *offset).collect()
}

fn query(after: u64, run: Option<RunId>) -> Query {
    Query { after, run }
}

#[test]
fn only_what_the_runs_own_poller_took_makes_room() {
    let now = Instant::now();
    let mut shelf = shelf(2, 100);
    shelf.offer(&message(1, 1, 1), now).unwrap();
    shelf.offer(&message(2, 1, 1), now).unwrap();
    let full = Err(NoRoom { next_expiry: Some(now + RETENTION) });
    assert_eq!(shelf.offer(&message(1, 2, 1), now), full);
    shelf.ask(query(2, None), ALL, now);
    assert_eq!(shelf.offer(&message(1, 2, 1), now), full, "somebody who looks in confirms nothing");
    shelf.ask(query(1, Some(run(2))), ALL, now);
    assert_eq!(shelf.offer(&message(1, 2, 1), now), full, "run 2 has nothing up to 1");
    assert_eq!(offsets(&shelf.ask(query(0, Some(run(1))), ALL, now).0), [1], "not confirmed, so still there");
    assert!(shelf.ask(query(1, Some(run(1))), ALL, now).1);
    assert_eq!(shelf.offer(&message(1, 2, 1), now), Ok(3));
    assert_eq!(shelf.untaken(run(1), now), 1);
}

#[test]
fn a_message_that_fits_only_when_everything_unread_goes_drops_nothing() {
    let now = Instant::now();
    let mut shelf = shelf(10, 10);
    shelf.offer(&message(1, 1, 4), now).unwrap();
    shelf.offer(&message(1, 2, 4), now).unwrap();
    shelf.ask(query(1, Some(run(1))), ALL, now);
    assert!(shelf.offer(&message(2, 1, 7), now).is_err());
    assert_eq!(shelf.weight(), (2, 8));
    assert_eq!(shelf.offer(&message(2, 1, 6), now), Ok(3));
    assert_eq!(shelf.weight(), (2, 10));
}

#[test]
fn an_answer_keeps_to_its_bounds_but_brings_at_least_one_message() {
    let now = Instant::now();
    let mut shelf = shelf(10, 1000);
    for seq in 1..=4 {
        shelf.offer(&message(1, seq, 100), now).unwrap();
    }
    let ask = |shelf: &mut Shelf, after, messages, bytes| {
        offsets(&shelf.ask(query(after, None), Batch { messages, bytes }, now).0)
    };
    assert_eq!(ask(&mut shelf, 0, 2, 1000), [1, 2]);
    assert_eq!(ask(&mut shelf, 2, 10, 10), [3]);
    assert_eq!(ask(&mut shelf, 0, 10, 250), [1, 2]);
    assert!(ask(&mut shelf, u64::MAX, 10, 250).is_empty());
}

#[test]
fn a_runs_deposit_is_over_only_behind_its_last_message() {
    let now = Instant::now();
    let one = Batch { messages: 1, bytes: 100 };
    let mut shelf = shelf(10, 1000);
    let ask = |shelf: &mut Shelf, after| shelf.ask(query(after, Some(run(1))), one, now).0.deposit;
    assert_eq!(ask(&mut shelf, 0), None, "an unknown run");
    shelf.open(run(1));
    assert_eq!(ask(&mut shelf, 0), Some(Deposit::Open));
    for seq in 1..=2 {
        shelf.offer(&message(1, seq, 1), now).unwrap();
    }
    shelf.close(run(1));
    assert_eq!(ask(&mut shelf, 0), Some(Deposit::Open));
    assert_eq!(ask(&mut shelf, 1), Some(Deposit::Over));
    assert_eq!(ask(&mut shelf, 2), Some(Deposit::Over));
}

#[test]
fn what_nobody_takes_expires_and_is_counted() {
    let now = Instant::now();
    let mut shelf = shelf(10, 1000);
    shelf.open(run(1));
    for seq in 1..=3 {
        shelf.offer(&message(1, seq, 1), now).unwrap();
    }
    shelf.close(run(1));
    shelf.ask(query(1, Some(run(1))), ALL, now);
    assert_eq!(shelf.untaken(run(1), now), 2);
    assert_eq!(shelf.untaken(run(1), now + RETENTION), 0);
    assert_eq!((shelf.expired_unread(), shelf.weight(), shelf.runs_known()), (2, (0, 0), 0));
}

#[derive(Debug, Clone)]
enum Step {
    Offer { run: u64, size: usize },
    Ask { run: Option<u64>, after: u64 },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offer = (0..3u64, 0..6usize).prop_map(|(run, size)| Step::Offer { run, size });
    let ask = (prop::option::of(0..3u64), 0..40u64).prop_map(|(run, after)| Step::Ask { run, after });
    prop::collection::vec(prop_oneof![4 => offer, 3 => ask, 1 => (0..400u64).prop_map(Step::Pass)], 0..80)
}

/// What the model knows of a message: its offset, run, size, when it came, and whether it was taken.
type Noted = (u64, u64, usize, Instant, bool);

proptest! {
    /// Whatever happens: the bounds hold, an untaken message within its retention is found by whoever asks for
    /// it, and offsets rise without a gap.
    #[test]
    fn nothing_untaken_is_dropped_and_the_bounds_hold(steps in steps()) {
        let mut now = Instant::now();
        let mut shelf = shelf(6, 16);
        let mut model: Vec<Noted> = Vec::new();
        let mut newest = 0;
        for step in steps {
            match step {
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                Step::Offer { run, size } => {
                    model.retain(|noted| noted.3 + RETENTION > now);
                    let unread = || model.iter().filter(|noted| !noted.4);
                    let fits = unread().count() < 6 && unread().map(|noted| noted.2).sum::<usize>() + size <= 16;
                    let offset = shelf.offer(&message(run, newest + 1, size), now);
                    prop_assert_eq!(offset.is_ok(), fits);
                    if let Ok(offset) = offset {
                        newest += 1;
                        prop_assert_eq!(offset, newest);
                        model.push((offset, run, size, now, false));
                    }
                }
                Step::Ask { run: of, after } => {
                    model.retain(|noted| noted.3 + RETENTION > now);
                    let found = shelf.ask(query(after, of.map(run)), ALL, now).0;
                    for noted in &mut model {
                        noted.4 |= Some(noted.1) == of && noted.0 <= after.min(newest);
                    }
                    let due = model.iter().filter(|noted| !noted.4 && noted.0 > after && of.is_none_or(|of| noted.1 == of));
                    let got = offsets(&found);
                    prop_assert!(due.map(|noted| noted.0).all(|offset| got.contains(&offset)));
                    prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]));
                }
            }
            let (messages, bytes) = shelf.weight();
            prop_assert!(messages <= 6 && bytes <= 16);
            for of in 0..3 {
                let untaken = model.iter().filter(|noted| noted.1 == of && !noted.4 && noted.3 + RETENTION > now).count();
                prop_assert_eq!(shelf.untaken(run(of), now), untaken as u64);
            }
        }
    }
}

fn mailbox(messages: usize) -> Mailbox {
    Mailbox::new(Limits { messages, bytes: 1000, retention: RETENTION }, ALL)
}

#[tokio::test]
async fn a_question_is_held_until_a_deposit_wakes_it() {
    let mailbox = mailbox(10);
    let asking = mailbox.ask_and_wait(query(0, None), LONG);
    let depositing = async {
        tokio::task::yield_now().await;
        mailbox.deposit(&message(1, 1, 1), LONG).await.unwrap();
    };
    let ((found, held), ()) = tokio::join!(asking, depositing);
    assert_eq!((offsets(&found), held), (vec![1], true));
    assert!(!mailbox.ask_and_wait(query(0, None), LONG).await.1, "what is there needs no waiting");
}

#[tokio::test]
async fn a_question_is_released_when_the_deposit_ends_without_a_message() {
    let mailbox = mailbox(10);
    mailbox.open(run(1));
    let ending = async {
        tokio::task::yield_now().await;
        mailbox.open(run(2)); // keeps nobody from ending run 1
        mailbox.deposit(&message(1, 1, 1), LONG).await.unwrap();
        mailbox.ask(query(1, Some(run(1))));
        mailbox.close(run(1));
    };
    let ((found, _), ()) = tokio::join!(mailbox.ask_and_wait(query(1, Some(run(1))), LONG), ending);
    assert_eq!((found.messages.len(), found.deposit), (1, Some(Deposit::Over)), "behind 0, as 1 was not given out yet");
    let (found, held) = mailbox.ask_and_wait(query(1, Some(run(1))), LONG).await;
    assert_eq!((found.messages.len(), found.deposit, held), (0, Some(Deposit::Over), false));
}

#[tokio::test]
async fn deposits_wait_for_room_in_the_order_in_which_they_came() {
    let mailbox = mailbox(1);
    mailbox.deposit(&message(1, 1, 1), LONG).await.unwrap();
    let (second, third) = (message(1, 2, 1), message(1, 3, 1));
    let taking = async {
        for after in 1..=2 {
            tokio::task::yield_now().await;
            mailbox.ask(query(after, Some(run(1))));
        }
    };
    let (second, third, ()) = tokio::join!(mailbox.deposit(&second, LONG), mailbox.deposit(&third, LONG), taking);
    assert_eq!((second.unwrap(), third.unwrap()), (2, 3));
}

#[tokio::test]
async fn a_deposit_into_a_full_mailbox_fails_clearly_and_a_question_ends_with_its_time() {
    let mailbox = mailbox(1);
    mailbox.deposit(&message(1, 1, 1), Duration::ZERO).await.unwrap();
    let refused = mailbox.deposit(&message(1, 2, 1), Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, PollingError::Full { waited: Duration::ZERO }), "{refused}");
    let (found, held) = mailbox.ask_and_wait(query(1, None), Duration::from_millis(1)).await;
    assert_eq!((found.messages.len(), held), (0, true));
}
