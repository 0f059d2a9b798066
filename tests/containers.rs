//! The cluster as containers: `docker compose` as it stands in the repository, on ports of its own. One stack for all
//! checks, as starting it takes longest. It fails where there is no container engine: run it only where there is one.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test is to end it, loudly")]

use std::{
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const NODES: [&str; 5] = ["broker", "producer", "consumer", "poller", "streamer"];
const IMAGES: [&str; 6] = ["broker", "producer", "consumer", "poller", "streamer", "crosstalk"];
const IMAGE_BYTES_MAX: u64 = 15_000_000;
const PATIENCE: Duration = Duration::from_secs(120);
const LOSSLESS: [&[&str]; 7] = [
    &["--over", "request-response"],
    &["--over", "queue", "--with", "broker=embedded"],
    &["--over", "queue", "--with", "broker=rabbitmq"],
    &["--over", "pubsub", "--with", "broker=rabbitmq"],
    &["--over", "pubsub", "--with", "via=direct"],
    &["--over", "polling"],
    &["--over", "streaming", "--with", "transport=websocket"],
];

/// The stack; taken down with its volumes at the end, whatever happened.
struct Stack {
    project: String,
    ports: Vec<(&'static str, u16)>,
}

impl Stack {
    fn new() -> Self {
        const VARIABLES: [&str; 8] = [
            "PRODUCER_PORT",
            "CONSUMER_PORT",
            "POLLER_PORT",
            "STREAMER_PORT",
            "BROKER_PORT",
            "BROKER_AMQP_PORT",
            "RABBITMQ_PORT",
            "RABBITMQ_MANAGEMENT_PORT",
        ];
        // All are held at once, so that they differ, and let go before the engine takes them.
        let held: Vec<_> = VARIABLES.map(|name| (name, TcpListener::bind("127.0.0.1:0").unwrap())).into();
        let ports = held.iter().map(|(name, listener)| (*name, listener.local_addr().unwrap().port())).collect();
        Self { project: format!("crosstalk-test-{}", std::process::id()), ports }
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.project, "--progress", "plain"]).args(arguments);
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .envs(self.ports.iter().map(|(name, port)| (name, port.to_string())));
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        succeeds(&mut self.compose(arguments))
    }

    fn url(&self, node: &str) -> String {
        let variable = format!("{}_PORT", node.to_uppercase());
        let port = self.ports.iter().find(|(name, _)| *name == variable).unwrap().1;
        format!("http://127.0.0.1:{port}")
    }

    fn container(&self, service: &str) -> String {
        self.does(&["ps", "--all", "--quiet", service]).trim().to_owned()
    }

    /// The command line of this machine, speaking to the stack.
    fn crosstalk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crosstalk"));
        command.args(arguments).args(["--cluster", &self.url("producer")]);
        command
    }

    fn ready(&self, node: &str) -> bool {
        let asked = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("{}/readyz", self.url(node))])
            .output();
        asked.unwrap().stdout == b"200"
    }

    fn asked(&self, node: &str, arguments: &[&str], path: &str) -> Value {
        let text = succeeds(Command::new("curl").arg("-sS").args(arguments).arg(format!("{}{path}", self.url(node))));
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--tail", "40"]).output();
            eprintln!("{}", logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default());
        }
        let _ = self.compose(&["down", "--volumes", "--timeout", "3"]).output();
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (text, errors) = printed(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn the_stack_does_what_the_readme_says() {
    let stack = Stack::new();
    step("build", || stack.does(&["build"]));
    step("images hold one small program and nothing else", images_are_small);
    step("up", || stack.does(&[&["up", "--detach", "--wait", "rabbitmq"], &NODES[..]].concat()));
    tell_start(&stack);
    step("tour over both brokers", || tour(&stack));
    step("curl lines", || curl_lines(&stack));
    step("files come out as they went in", || files(&stack));
    step("a killed consumer loses nothing on either queue", || killed_consumer(&stack));
    step("RabbitMQ goes and comes back", || absent_broker(&stack));
    step("logs read as a story", || logs(&stack));
}

fn step<T>(name: &str, work: impl FnOnce() -> T) {
    let began = Instant::now();
    work();
    eprintln!("{name}: {:.1} s", began.elapsed().as_secs_f64());
}

fn images_are_small() {
    for image in IMAGES {
        let image = format!("crosstalk/{image}");
        let inspected = succeeds(Command::new("docker").args(["image", "inspect", &image]));
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let bytes = inspected[0]["Size"].as_u64().unwrap();
        eprintln!("{image}: {bytes} B");
        assert!(bytes < IMAGE_BYTES_MAX, "{image} is {bytes} B");
        assert_eq!(inspected[0]["Config"]["User"], "65532:65532", "{image} runs unprivileged");
        let container = succeeds(Command::new("docker").args(["create", &image]));
        let listing =
            Command::new("sh").args(["-c", &format!("docker export {} | tar -t", container.trim())]).output().unwrap();
        succeeds(Command::new("docker").args(["rm", container.trim()]));
        // What the engine itself adds to every container: mount points and empty files.
        const ENGINE: [&str; 8] = ["dev/", "etc/", "proc/", "sys/", ".dockerenv", "data/", "dev/console", "dev/pts/"];
        let files = String::from_utf8(listing.stdout).unwrap();
        let own: Vec<_> = files.lines().filter(|file| !ENGINE.iter().any(|known| file.starts_with(known))).collect();
        assert_eq!(own.len(), 1, "{image} holds one program: {own:?}");
    }
}

/// How long after RabbitMQ our nodes were healthy: a number to look at, not to fail by.
fn tell_start(stack: &Stack) {
    let healthy = |service: &str| {
        let format = "{{range .State.Health.Log}}{{.ExitCode}} {{.End.UnixNano}}\n{{end}}";
        let log = succeeds(Command::new("docker").args(["inspect", "--format", format, &stack.container(service)]));
        let first = log.lines().find_map(|line| line.strip_prefix("0 ")?.trim().parse::<i64>().ok());
        first.unwrap_or(i64::MAX)
    };
    let rabbitmq = healthy("rabbitmq");
    for node in NODES {
        eprintln!("{node}: healthy {:.2} s after RabbitMQ", (healthy(node) - rabbitmq) as f64 / 1e9);
    }
}

fn tour(stack: &Stack) {
    let story = stack.does(&["run", "--rm", "--no-TTY", "tour"]);
    for title in [
        "Message queue (embedded)",
        "Message queue (rabbitmq)",
        "Publish/subscribe, brokered (embedded)",
        "Publish/subscribe, brokered (rabbitmq)",
        "Streaming over UDP",
        "Long polling",
    ] {
        assert!(story.contains(&format!("── {title} ")), "{title}:\n{story}");
    }
}

fn curl_lines(stack: &Stack) {
    for node in NODES {
        let description = stack.asked(node, &["-H", "Accept: application/json"], "/");
        for line in description["curl"].as_array().unwrap() {
            let line = line["line"].as_str().unwrap();
            let output = Command::new("sh").args(["-c", &format!("{line} -w '\\n%{{http_code}}'")]).output().unwrap();
            let (text, errors) = printed(&output);
            let status = text.lines().last().unwrap_or_default();
            assert!(status.starts_with('2') || status == "101", "{line}\n{text}{errors}");
        }
    }
}

fn files(stack: &Stack) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let text: Vec<u8> = (0..)
        .flat_map(|line| {
            format!("{line}: {:x} and words as in any text, to make a line of a common length\n", random()).into_bytes()
        })
        .take(10 << 20)
        .collect();
    let binary: Vec<u8> = (0..1 << 20).map(|_| (random() >> 32) as u8).collect();
    for arguments in LOSSLESS {
        for input in [&text, &binary] {
            let mut sending = stack.crosstalk(&[&["send", "-"], arguments].concat());
            let mut sending =
                sending.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            sending.stdin.take().unwrap().write_all(input).unwrap();
            let (run, told) = printed(&sending.wait_with_output().unwrap());
            eprintln!("  {arguments:?}: {}", told.lines().last().unwrap_or_default());
            let received = stack.crosstalk(&["recv", run.trim()]).output().unwrap();
            assert!(
                received.stdout == *input,
                "{arguments:?}: {} B became {} B\n{told}",
                input.len(),
                received.stdout.len()
            );
        }
    }
}

fn killed_consumer(stack: &Stack) {
    for broker in ["embedded", "rabbitmq"] {
        stack.asked("consumer", &["-X", "PUT", "-d", r#"{"work": "10ms", "concurrency": 1}"#], "/behaviour");
        let path = format!("/queue?messages=200&in_flight=200&broker={broker}");
        let run = stack.asked("producer", &["-X", "POST", "-H", "Prefer: respond-async"], &path)["run"].clone();
        let run = run.as_str().unwrap();
        until("some messages are finished", || {
            stack.asked("consumer", &[], &format!("/inbox/{run}"))["receivers"][0]["processed"].as_u64() > Some(5)
        });
        stack.does(&["kill", "--signal", "KILL", "consumer"]);
        stack.does(&["start", "consumer"]);
        until("the consumer is ready again", || stack.ready("consumer"));
        until("everything is delivered", || {
            let messages = stack.asked("producer", &[], &format!("/runs/{run}"))["messages"].clone();
            messages["delivered"] == 200 && messages["lost"] == 0
        });
    }
}

fn absent_broker(stack: &Stack) {
    stack.does(&["kill", "--signal", "KILL", "rabbitmq"]);
    until("the producer misses it", || !stack.ready("producer"));
    let refused = stack.asked("producer", &["-X", "POST"], "/queue?messages=1&broker=rabbitmq");
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("rabbitmq")), "{refused}");
    let other = stack.asked("producer", &["-X", "POST"], "/queue?messages=1&broker=embedded");
    assert_eq!(other["messages"]["delivered"], 1, "the other broker goes on: {other}");
    stack.does(&["start", "rabbitmq"]);
    for node in ["producer", "consumer"] {
        until(&format!("{node} has found it again"), || stack.ready(node));
    }
    let again = stack.asked("producer", &["-X", "POST"], "/queue?messages=5&broker=rabbitmq");
    assert_eq!(again["messages"]["delivered"], 5, "{again}");
}

fn logs(stack: &Stack) {
    let logs = stack.does(&["logs", "--no-color", "producer", "consumer", "poller", "streamer"]);
    for word in [
        "rabbitmq",
        "embedded",
        "request-response",
        "queue",
        "pubsub",
        "polling",
        "streaming",
        "waited",
        "is not there",
    ] {
        assert!(logs.contains(word), "the logs tell of {word}");
    }
    assert!(!logs.contains("panicked"), "no panic");
}
