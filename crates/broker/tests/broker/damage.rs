//! Files that are not as they were written: the torn end of a crash, damage in the middle, and the command that repairs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::durable::{Publisher, contents, until_logged, until_ready};
use super::process::{Program, Scratch, command};

const MESSAGES: u32 = 50;

/// A store with so many messages, of which a kill was the end; where they stand.
async fn stored(scratch: &Scratch) -> PathBuf {
    let program = Program::start(scratch, &[]);
    let mut publisher = Publisher::new(&program, 1000).await;
    publisher.publish_each(MESSAGES).await;
    program.kill();
    scratch.data().join("messages/000000000001.log")
}

/// Changes one octet in the middle of a file; where.
fn damage(path: &PathBuf) -> usize {
    let mut octets = fs::read(path).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    fs::write(path, octets).unwrap();
    middle
}

fn repair(scratch: &Scratch) -> Output {
    let mut repair = Command::new(env!("CARGO_BIN_EXE_broker"));
    repair.args(["repair", "--data"]).arg(scratch.data()).output().unwrap()
}

/// Ends a program in order.
fn stop(program: Program) {
    kill_process(program.id(), Signal::TERM).unwrap();
    // What is left of it goes with the value.
    waitid(WaitId::Pid(program.id()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
}

/// What a broker says that does not start.
fn refusal(scratch: &Scratch) -> String {
    let refused = command(&scratch.data(), &[]).output().unwrap();
    assert!(!refused.status.success(), "{}", said(&refused));
    said(&refused)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_torn_end_is_dropped() {
    let scratch = Scratch::new();
    let segment = stored(&scratch).await;
    let mut file = fs::OpenOptions::new().append(true).open(&segment).unwrap();
    file.write_all(b"BTCH and no more").unwrap();
    drop(file);
    let program = Program::start(&scratch, &[]);
    assert_eq!(contents(&program).await, (0..MESSAGES).collect());
    until_logged(&scratch, "torn end dropped").await;
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_and_what_is_whole_is_there_after_the_repair() {
    let scratch = Scratch::new();
    let segment = stored(&scratch).await;
    let damaged_at = damage(&segment);
    let damaged = fs::read(&segment).unwrap();
    let message = refusal(&scratch);
    assert!(message.contains(segment.to_str().unwrap()), "{message}");
    let offset = message.split_once("damaged at offset ").and_then(|(_, rest)| rest.split(':').next()).unwrap();
    let offset: usize = offset.parse().unwrap();
    assert!(offset <= damaged_at && damaged_at - offset < 2000, "{message}");
    assert_eq!(fs::read(&segment).unwrap(), damaged, "nothing was changed");

    // The message names the command as one would type it.
    let named = message.split('`').nth(1).unwrap().strip_prefix("broker ").unwrap();
    let mut pasted = Command::new("sh");
    pasted.args(["-c", &format!("\"$BROKER\" {named}")]).env("BROKER", env!("CARGO_BIN_EXE_broker"));
    let repaired = pasted.output().unwrap();
    assert!(repaired.status.success(), "{}", said(&repaired));
    assert!(said(&repaired).contains("1 file repaired"), "{}", said(&repaired));
    assert!(said(&repaired).contains(segment.to_str().unwrap()), "{}", said(&repaired));

    let program = Program::start(&scratch, &[]);
    let found = contents(&program).await;
    assert!(found.len() as u32 >= MESSAGES - 1, "one message was damaged: {found:?}");
    let kept = fs::read_dir(segment.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut kept = kept.filter(|path| path.to_string_lossy().ends_with(".damaged"));
    assert_eq!(fs::read(kept.next().unwrap()).unwrap(), damaged);
}

#[tokio::test]
async fn a_store_in_use_is_not_repaired() {
    let scratch = Scratch::new();
    let _segment = stored(&scratch).await;
    let program = Program::start(&scratch, &[]);
    assert_eq!(contents(&program).await.len() as u32, MESSAGES);
    let refused = repair(&scratch);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("is in use by another broker"), "{}", said(&refused));
}

#[tokio::test]
async fn a_missing_segment_is_refused_and_given_up_by_the_repair() {
    let scratch = Scratch::new();
    let segment = stored(&scratch).await;
    fs::remove_file(&segment).unwrap();
    let message = refusal(&scratch);
    assert!(message.contains(&format!("{} is missing", segment.display())), "{message}");
    let repaired = said(&repair(&scratch));
    assert!(repaired.contains(&format!("{}: was missing", segment.display())), "{repaired}");
    assert!(repaired.contains("a transaction may have been saved in part"), "{repaired}");
    let program = Program::start(&scratch, &[]);
    assert_eq!(contents(&program).await.len(), 0);
}

#[tokio::test]
async fn an_end_cut_off_after_an_orderly_one_is_refused() {
    let scratch = Scratch::new();
    let segment = stored(&scratch).await;
    let program = Program::start(&scratch, &[]);
    assert_eq!(contents(&program).await.len() as u32, MESSAGES);
    stop(program);
    let length = fs::metadata(&segment).unwrap().len();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 1).unwrap();
    for _ in 0..2 {
        let message = refusal(&scratch);
        assert!(message.contains(&format!("{} is damaged at offset {}", segment.display(), length - 1)), "{message}");
    }
    assert!(said(&repair(&scratch)).contains("1 file repaired"));
    assert_eq!(contents(&Program::start(&scratch, &[])).await.len() as u32, MESSAGES);
}

#[tokio::test]
async fn a_missing_topology_is_made_anew_by_the_repair() {
    let scratch = Scratch::new();
    let _segment = stored(&scratch).await;
    fs::remove_file(scratch.data().join("topology")).unwrap();
    let message = refusal(&scratch);
    assert!(message.contains("topology is missing"), "{message}");
    let repaired = said(&repair(&scratch));
    let name = repaired.lines().find_map(|line| line.strip_prefix("queue ")?.split(' ').next()).unwrap();
    assert!(name.starts_with("recovered-") && !repaired.contains("are lost"), "{repaired}");
    let program = Program::start(&scratch, &[]);
    until_ready(&program, None).await;
    let queues = program.json(&format!("/queues?name={name}"));
    assert!(queues.len() == 1 && queues[0]["ready"] == MESSAGES, "{queues:?}");
}

#[test]
fn where_there_is_no_store_nothing_is_repaired() {
    let scratch = Scratch::new();
    let refused = repair(&scratch);
    assert!(!refused.status.success());
    let message = said(&refused);
    assert!(message.contains(&format!("there is no store in {}", scratch.data().display())), "{message}");
    assert!(!scratch.data().exists());
}
