//! A cluster for one test: started, asked, and ended with the test. It does not know what is tested.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Lines},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::Value;

/// Far beyond what anything here takes, also on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn crosstalk() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crosstalk"));
    let own = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CROSSTALK_"));
    for (name, _) in own {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// A running local cluster.
pub(crate) struct Cluster {
    pub(crate) process: Child,
    /// Held open: a program whose output nobody reads any more ends.
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) data: PathBuf,
    pub(crate) client: Client,
}

/// One node of it, as `crosstalk` printed it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) pid: u32,
}

impl Cluster {
    /// Starts a cluster and waits until it says that it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further arguments, such as `--set`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let data = temporary("cluster");
        let mut process = crosstalk()
            .args(["up", "--no-tour", "--port-base", "0", "--data"])
            .arg(&data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("crosstalk starts");
        let mut nodes = BTreeMap::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        for line in &mut stdout {
            let line = line.expect("standard output is text");
            if line.starts_with("The cluster stays up") {
                break;
            }
            let words: Vec<_> = line.split_whitespace().collect();
            if let [name, url, "process", pid, ..] = words[..] {
                nodes.insert(name.to_owned(), Node { url: url.to_owned(), pid: pid.parse().unwrap() });
            }
        }
        assert_eq!(nodes.len(), 5, "five nodes are ready: {nodes:?}");
        Self { process, _stdout: stdout, nodes, data, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// `http://host:port` of a node, with a path.
    pub(crate) fn url(&self, node: &str, path: &str) -> String {
        format!("{}{path}", self.nodes[node].url)
    }

    pub(crate) async fn post(&self, node: &str, path: &str) -> Value {
        answer(self.client.post(self.url(node, path))).await.1
    }

    pub(crate) async fn get(&self, node: &str, path: &str) -> Value {
        answer(self.client.get(self.url(node, path))).await.1
    }

    /// Makes a receiver slower or faster.
    pub(crate) async fn behave(&self, node: &str, behaviour: Value) {
        let (status, answer) = answer(self.client.put(self.url(node, "/behaviour")).body(behaviour.to_string())).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// The program with this cluster named.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = crosstalk();
        command.args(arguments).args(["--cluster", &self.nodes["producer"].url]);
        command
    }

    /// Waits until the node's own needs are met again.
    pub(crate) async fn ready(&self, node: &str) {
        until(&format!("{node} is ready"), async || {
            let answer = self.client.get(self.url(node, "/readyz")).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Status and JSON of an answer.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.timeout(PATIENCE).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        tick.tick().await;
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "process {pid} is there to be sent {name}");
}

/// Whether a process is there; one that ended and was not reaped yet is not.
pub(crate) fn alive(pid: u32) -> bool {
    let listed = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps runs");
    let state = String::from_utf8_lossy(&listed.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// A directory name that no other test has.
pub(crate) fn temporary(what: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("crosstalk-test-{}-{count}-{what}", std::process::id()))
}

/// What a command printed to its outputs, as text.
pub(crate) fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
