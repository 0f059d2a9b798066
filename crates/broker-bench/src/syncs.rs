//! How often a broker syncs for each message that it confirms, counted by strace.
//!
//! Timing under strace says nothing, so none is taken. Does not know why a broker syncs, or does not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::connection::{Connection, QueueKind};
use crate::error::BenchError;
use crate::load::{Progress, publish};
use crate::process::Processes;
use crate::rows::persistent;

/// Messages published one at a time: enough that a few syncs of the broker's own do not matter.
const MESSAGES: u64 = 1000;
/// Octets of each body.
const BODY_BYTES: usize = 100;
/// How long strace may take to let go of the broker and write its table.
const DETACH_MAX: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// What to do when strace does not work.
const REMEDY: &str = "install it (`apt install strace`), and run as a user who may trace the broker's process";

/// What was counted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Syncs {
    /// Messages confirmed.
    pub confirms: u64,
    /// `fsync` and `fdatasync` calls meanwhile, by all threads.
    pub syncs: u64,
}

/// Counts on a queue of this `kind`, with a file of strace's in `directory`.
///
/// # Errors
/// When strace is missing or not allowed, or the broker fails.
pub fn run(
    uri: &AMQPUri,
    kind: QueueKind,
    processes: Option<&Processes>,
    directory: &Path,
    interrupted: &Arc<AtomicBool>,
) -> Result<Syncs, BenchError> {
    // Not the helpers around it: some do nothing but start others, which strace was seen to hang on.
    let process = processes
        .and_then(Processes::busiest)
        .ok_or(BenchError::NoProcess("syncs can only be counted in the broker's process"))?;
    let load = persistent(kind, BODY_BYTES, 1, 1);
    let mut control = Connection::open(uri)?;
    load.set_up(&mut control)?;
    let output = directory.join("strace");
    let strace = Strace::attach(process, &output)?;
    let published = publish(uri, &load, &Progress::new(Arc::clone(interrupted)), MESSAGES);
    strace.detach()?;
    let confirms = published?.count;
    let syncs = count(&fs::read_to_string(&output).map_err(BenchError::file(&output))?);
    load.tear_down(&mut control)?;
    control.close()?;
    Ok(Syncs { confirms, syncs })
}

struct Strace(Child);

impl Strace {
    /// Returns once the process is being traced.
    fn attach(process: u32, output: &Path) -> Result<Self, BenchError> {
        let failed = |problem: String| BenchError::Program { command: "strace".to_owned(), problem, remedy: REMEDY };
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-o"]).arg(output);
        command.args(["-p", &process.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let said = child.stderr.take().map(BufReader::new);
        let strace = Self(child);
        let mut refused = String::new();
        for line in said.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if line.contains(" attached") {
                return Ok(strace);
            }
            refused = line;
        }
        Err(failed(refused))
    }

    /// Ends it as Ctrl-C does: it lets go of the broker, and writes its table.
    fn detach(mut self) -> Result<(), BenchError> {
        let failed = |problem: String| BenchError::Program { command: "strace".to_owned(), problem, remedy: REMEDY };
        self.interrupt();
        let since = Instant::now();
        loop {
            match self.0.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if since.elapsed() < DETACH_MAX => thread::sleep(POLL),
                Ok(None) => return Err(failed(format!("did not let go of the broker within {DETACH_MAX:?}"))),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
    }

    fn interrupt(&self) {
        if let Some(id) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::INT);
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // A traced broker must never be left behind. After `detach` there is nothing to end any more.
        if matches!(self.0.try_wait(), Ok(None)) {
            // Not asked but told: it may not have listened before.
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// The calls in strace's table: % time, seconds, µs/call, calls, errors (if any), name.
fn count(table: &str) -> u64 {
    let calls = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields.last(), Some(&("fsync" | "fdatasync"))).then(|| fields.get(3)?.parse::<u64>().ok())?
    };
    table.lines().filter_map(calls).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn calls_are_read_from_the_table() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     99.00    0.100000         100      1000         2 fdatasync\n  \
                     1.00    0.000100          50         2           fsync\n\
                     100.00    0.100100                  1002         2 total\n";
        assert_eq!(super::count(table), 1002);
        assert_eq!(super::count(""), 0);
    }
}
