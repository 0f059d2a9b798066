//! Our broker as a process of its own, with its data in a directory of this run. Does not know AMQP.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Setup, tail};
use crate::error::BenchError;

/// How long it may take to end when asked to.
const END_MAX: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const END_LOOK: Duration = Duration::from_millis(20);
/// Above the connections that any row makes.
const CONNECTIONS_MAX: &str = "broker.connections_max=4096";

/// The running program.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    data: PathBuf,
}

impl Process {
    pub(super) fn start(setup: &Setup, port: u16) -> Result<Self, BenchError> {
        let (data, log) = (setup.directory.join(format!("data-{port}")), setup.directory.join("crosstalk.log"));
        fs::create_dir_all(&data).map_err(BenchError::file(&data))?;
        let output = File::create(&log).map_err(BenchError::file(&log))?;
        let errors = output.try_clone().map_err(BenchError::file(&log))?;
        let mut command = Command::new(&setup.program);
        command.arg("--listen-amqp").arg(format!("127.0.0.1:{port}")).args(["--listen", "127.0.0.1:0"]);
        command.arg("--data").arg(&data).args(["--set", CONNECTIONS_MAX]).args(&setup.arguments);
        // A line for each of a thousand connections would be measured too.
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|error| BenchError::Program {
            command: setup.program.display().to_string(),
            problem: error.to_string(),
            remedy: "build it with `cargo build --release -p crosstalk-broker`, or name it with --program",
        })?;
        Ok(Self { child, log, data })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).filter(|_| self.is_alive()) {
            let _ = kill_process(id, Signal::TERM);
            let deadline = Instant::now() + END_MAX;
            while self.is_alive() && Instant::now() < deadline {
                thread::sleep(END_LOOK);
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
        drop(fs::remove_dir_all(&self.data));
    }
}
