//! A disk whose syncs fail, and how many syncs a confirm takes: with the system calls of a real process.

use super::durable::{Publisher, consume_some, contents, metric, skipped, until_logged, until_ready};
use super::process::{Program, Scratch};
use super::strace::Strace;

/// A broker that confirmed 20 messages, and its publisher, which waits for the confirm of one more in vain: syncs fail.
async fn failing_after_20(scratch: &Scratch) -> Result<(Program, Publisher, Strace), String> {
    let program = Program::start(scratch, &[]);
    let mut publisher = Publisher::new(&program, 1000).await;
    publisher.publish_each(20).await;
    let failing = Strace::attach(program.id(), &scratch.data().join("trace"), Some("EIO"))?;
    publisher.publish().await;
    publisher.until_blocked(true).await;
    Ok((program, publisher, failing))
}

#[tokio::test]
async fn nothing_is_confirmed_while_syncs_fail_and_all_of_it_when_they_work_again() {
    let scratch = Scratch::new();
    let (program, mut publisher, failing) = match failing_after_20(&scratch).await {
        Ok(failing) => failing,
        Err(why) => return skipped(&why),
    };
    until_ready(&program, Some("Input/output error")).await;
    until_logged(&scratch, "nothing can be stored").await;
    assert!(metric(&program, "store_failures_total") > 0);
    assert_eq!(metric(&program, "blocked"), 1);
    assert_eq!(consume_some(&program, 15).await, (0..15).collect(), "consumers go on");
    assert_eq!(publisher.take_confirmed(), 1, "what is not synced is not confirmed");

    drop(failing);
    publisher.settle().await;
    publisher.until_blocked(false).await;
    until_ready(&program, None).await;
    publisher.publish_each(5).await;
    assert_eq!(publisher.confirmed, (0..26).collect());
    program.kill();
    let program = Program::start(&scratch, &[]);
    assert_eq!(contents(&program).await, (15..26).collect());
}

#[tokio::test]
async fn what_was_confirmed_before_syncs_failed_outlives_a_kill_while_they_do() {
    let scratch = Scratch::new();
    let (program, publisher, failing) = match failing_after_20(&scratch).await {
        Ok(failing) => failing,
        Err(why) => return skipped(&why),
    };
    program.kill();
    drop(failing);
    let program = Program::start(&scratch, &[]);
    let found = contents(&program).await;
    assert!(found.is_superset(&publisher.confirmed), "{found:?}");
}

#[tokio::test]
async fn every_confirm_comes_after_a_sync() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &[]);
    let mut publisher = Publisher::new(&program, 100).await;
    let counting = Strace::attach(program.id(), &scratch.data().join("trace"), None);
    let before = metric(&program, "store_syncs_total");
    publisher.publish_each(50).await;
    let counted = metric(&program, "store_syncs_total") - before;
    assert!(counted >= 50, "{counted} syncs for 50 confirms, one at a time");
    match counting {
        Ok(counting) => {
            let seen = counting.detach();
            assert!(seen >= 50, "{seen} system calls for 50 confirms, one at a time");
        }
        Err(why) => skipped(&why),
    }
}
