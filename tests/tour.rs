//! `crosstalk tour`: every paradigm is shown, and the exit code says whether all arrived that had to.

use std::process::Stdio;

use crate::cluster::{Cluster, crosstalk, printed};

/// What the tour shows, as a reader of its table looks for it, with the word in its last column.
const SHOWN: [(&str, &str); 9] = [
    ("Request/response, one at a time", "synchronous"),
    ("Request/response, many at once", "synchronous"),
    ("Message queue (embedded)", "both"),
    ("Publish/subscribe, brokered (embedded)", "both"),
    ("Publish/subscribe, direct", "asynchronous"),
    ("Short polling", "both"),
    ("Long polling", "both"),
    ("Streaming over UDP", "asynchronous"),
    ("Streaming over WebSocket", "asynchronous"),
];

fn check(story: &str) {
    let table = story.rsplit("Paradigm").next().unwrap();
    for (title, together) in SHOWN {
        assert!(story.contains(&format!("── {title} ")), "{title} is told:\n{story}");
        let row = table.lines().find(|line| line.trim_start().starts_with(title));
        let row = row.unwrap_or_else(|| panic!("{title} has a row:\n{table}"));
        assert!(row.trim_end().ends_with(together), "{title} is {together}: {row}");
    }
}

#[test]
fn a_tour_of_its_own_cluster_shows_every_paradigm_and_ends_well() {
    let output = crosstalk().args(["tour", "--port-base", "0"]).stdin(Stdio::null()).output().unwrap();
    let (story, errors) = printed(&output);
    assert!(output.status.success(), "{story}\n{errors}");
    check(&story);
}

#[test]
fn a_tour_of_a_running_cluster_tells_the_same() {
    let cluster = Cluster::start();
    let output = cluster.command(&["tour"]).output().unwrap();
    let (story, errors) = printed(&output);
    assert!(output.status.success(), "{story}\n{errors}");
    check(&story);
}

#[test]
fn without_a_cluster_the_tour_says_so() {
    let output = crosstalk().args(["tour", "--cluster", "http://127.0.0.1:1"]).output().unwrap();
    let (story, errors) = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{story}");
    assert!(errors.contains("http://127.0.0.1:1 did not answer"), "{errors}");
}
