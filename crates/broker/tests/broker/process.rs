//! The program `broker` as a process of its own: started on a directory, looked at over HTTP, killed. Knows no test.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a loaded machine; only a failing test waits for it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A directory that one call is given and nobody else; it goes with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("crosstalk-broker-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// What is given to a broker as `--data`.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// What all brokers on this directory have said so far.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The program, about to be started on a directory, on ports that the system chooses.
pub(crate) fn command(data: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command.args(["--managed", "--listen", "127.0.0.1:0", "--listen-amqp", "127.0.0.1:0", "--data"]);
    command.arg(data).args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A running program, killed when the value goes.
pub(crate) struct Program {
    child: Child,
    /// Where it listens for HTTP.
    pub(crate) http: SocketAddr,
    amqp: SocketAddr,
}

impl Program {
    /// Starts it; it may still be reading what is stored, and answers once it has.
    pub(crate) fn start(scratch: &Scratch, options: &[&str]) -> Self {
        let log: File = OpenOptions::new().create(true).append(true).open(scratch.log()).unwrap();
        let mut child = command(&scratch.data(), options).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = |key: &str| {
            let (_, rest) = line.split_once(&format!("\"{key}\":\"")).unwrap_or_else(|| {
                panic!("{key} in {line:?}; it said:\n{}", fs::read_to_string(scratch.log()).unwrap_or_default())
            });
            rest.split('"').next().unwrap().parse().unwrap()
        };
        Self { http: address("http"), amqp: address("amqp"), child }
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it with SIGKILL, at once and without a chance to write anything; it must have been running until then.
    pub(crate) fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself");
        kill_process(self.id(), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Where it listens for AMQP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.amqp
    }

    pub(crate) fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address())
    }

    /// The status line and the body.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Vec<serde_json::Value> {
        let (status, body) = self.get(path);
        assert!(status.contains(" 200 "), "{path}: {status}\n{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error} in {body}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
