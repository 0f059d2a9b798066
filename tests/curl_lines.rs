//! Every line that a node prints on `/` works as it is printed, in a shell.

use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, answer, printed};

#[tokio::test]
async fn every_printed_line_works_in_a_shell() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "curl is needed to try the printed lines");
        eprintln!("curl is not installed: the printed lines are not tried");
        return;
    }
    let cluster = Cluster::start();
    for (name, node) in &cluster.nodes {
        let request = cluster.client.get(&node.url).header("accept", "application/json");
        let description: Value = answer(request).await.1;
        let lines = description["curl"].as_array().unwrap();
        assert!(lines.len() >= 5, "{name} has lines to copy");
        let page = cluster.get(name, "/").await;
        for line in lines.iter().map(|line| line["line"].as_str().unwrap()) {
            assert!(page.as_str().unwrap().contains(line), "{name} prints {line}");
            let output = Command::new("sh").args(["-c", &format!("{line} -w '\\n%{{http_code}}'")]).output().unwrap();
            let (text, errors) = printed(&output);
            let status = text.lines().last().unwrap_or_default();
            assert!(status.starts_with('2') || status == "101", "{line}\n{text}{errors}");
        }
    }
}
