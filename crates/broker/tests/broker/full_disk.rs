//! A disk without room: publishers wait, consumers make room, and the broker goes on by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::durable::{Publisher, consume_some, contents, metric, skipped, until_logged, until_ready};
use super::process::{Program, Scratch};

/// A small file system of its own, until the value goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Result<Self, String> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        let output = mount.output().map_err(|error| format!("mount cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(Self(at.to_owned())) } else { Err(format!("no file system to fill: {said}")) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// Fills the disk with messages, drains it, and kills the broker.
async fn fill_and_drain(scratch: &Scratch, set: &[&str], reason: &str) {
    let options: Vec<&str> = set.iter().flat_map(|set| ["--set", *set]).collect();
    let program = Program::start(scratch, &options);
    let mut publisher = Publisher::new(&program, 60_000).await;
    publisher.publish_until_blocked().await;
    until_ready(&program, Some(reason)).await;
    until_logged(scratch, reason).await;
    assert_eq!(metric(&program, "blocked"), 1);
    let held_back = || program.json("/connections").iter().any(|connection| connection["blocked"] == true);
    assert!(held_back());
    publisher.take_confirmed();

    let drained = consume_some(&program, publisher.confirmed.len()).await;
    publisher.until_blocked(false).await;
    until_ready(&program, None).await;
    assert!(!held_back());
    publisher.settle().await;
    publisher.publish_each(3).await;
    program.kill();
    let program = Program::start(scratch, &options);
    let mut found = contents(&program).await;
    found.extend(drained);
    assert_eq!(found, publisher.confirmed, "all that was confirmed was consumed, or is there");
}

#[tokio::test]
async fn a_full_file_system_holds_publishers_until_consumers_made_room() {
    let scratch = Scratch::new();
    let _disk = match SmallDisk::mount(&scratch.data(), "24m") {
        Ok(disk) => disk,
        Err(why) => return skipped(&why),
    };
    let set = ["broker.disk_free_min=0B", "broker.segment_size=1MiB"];
    fill_and_drain(&scratch, &set, "No space left on device").await;
}

#[tokio::test]
async fn what_must_stay_free_on_the_file_system_stays_free() {
    let scratch = Scratch::new();
    let _disk = match SmallDisk::mount(&scratch.data(), "48m") {
        Ok(disk) => disk,
        Err(why) => return skipped(&why),
    };
    let set = ["broker.disk_free_min=24MiB", "broker.segment_size=1MiB"];
    fill_and_drain(&scratch, &set, "octets are free on the file system").await;
}

#[tokio::test]
async fn what_the_store_may_take_is_not_exceeded_for_long() {
    let set = ["broker.disk_max=64MiB", "broker.segment_size=1MiB"];
    fill_and_drain(&Scratch::new(), &set, "octets of at most 67108864 are in use").await;
}
