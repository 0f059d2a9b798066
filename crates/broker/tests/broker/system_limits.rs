//! Bounds of the system on the broker's process: open files and the size of a file. None of them may end it.

use std::net::TcpStream;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::durable::{Publisher, contents, until_logged, until_ready};
use super::process::{Program, Scratch};

/// Segments as small as they can be, so that new ones are needed soon.
const OPTIONS: [&str; 2] = ["--set", "broker.segment_size=1MiB"];

fn limit(process: Pid, resource: Resource, current: u64) -> Rlimit {
    let before = prlimit(Some(process), resource, Rlimit { current: Some(current), maximum: None });
    // Who may not have an unlimited maximum keeps the one there is.
    before.unwrap_or_else(|_| {
        let maximum = rustix::process::getrlimit(resource).maximum;
        prlimit(Some(process), resource, Rlimit { current: Some(current), maximum }).unwrap()
    })
}

#[tokio::test]
async fn without_open_files_it_waits_and_goes_on_when_it_may_open_some() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &OPTIONS);
    let mut publisher = Publisher::new(&program, 60_000).await;
    publisher.publish_each(1).await;
    let before = limit(program.id(), Resource::Nofile, 8);
    publisher.publish_until_blocked().await;
    until_logged(&scratch, "Too many open files").await;
    let newcomers: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(program.address()).unwrap()).collect();
    until_logged(&scratch, "cannot accept a connection").await;

    prlimit(Some(program.id()), Resource::Nofile, before).unwrap();
    drop(newcomers);
    publisher.settle().await;
    publisher.until_blocked(false).await;
    until_ready(&program, None).await;
    program.kill();
    let program = Program::start(&scratch, &OPTIONS);
    assert_eq!(contents(&program).await, publisher.confirmed);
}

#[tokio::test]
async fn a_bound_on_the_size_of_files_does_not_end_it() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &OPTIONS);
    let mut publisher = Publisher::new(&program, 60_000).await;
    publisher.publish_each(1).await;
    let before = limit(program.id(), Resource::Fsize, 400_000);
    publisher.publish_each(15).await;
    until_logged(&scratch, "File too large").await;
    prlimit(Some(program.id()), Resource::Fsize, before).unwrap();
    publisher.publish_each(3).await;
    publisher.until_blocked(false).await;
    program.kill();
    let program = Program::start(&scratch, &OPTIONS);
    assert_eq!(contents(&program).await, publisher.confirmed);
}
