//! `strace` on a running process: counts its syncs, or makes them fail for as long as it is attached. Knows no broker.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Both ways in which a program may ask for what it wrote to be on the disk.
const SYNCS: &str = "fsync,fdatasync";

/// Attached until the value goes.
pub(crate) struct Strace {
    child: Child,
    trace: PathBuf,
}

impl Strace {
    /// Attaches to all threads of a process. With an error, such as `EIO`, all syncs fail with it.
    ///
    /// # Errors
    /// Why that is impossible here.
    pub(crate) fn attach(process: Pid, trace: &Path, error: Option<&str>) -> Result<Self, String> {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={SYNCS}"), "-o"]).arg(trace);
        if let Some(error) = error {
            command.args(["-e", &format!("inject={SYNCS}:error={error}")]);
        }
        command.args(["-p", &process.as_raw_nonzero().to_string()]).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("strace cannot be started: {error}"))?;
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains("attached") {
                return Ok(Self { child, trace: trace.to_owned() });
            }
            said.push_str(&line);
        }
        child.wait().unwrap();
        Err(format!("strace cannot attach: {said}"))
    }

    /// Detaches; how many syncs there were.
    pub(crate) fn detach(self) -> usize {
        let trace = self.trace.clone();
        drop(self);
        fs::read_to_string(trace).unwrap().lines().filter(|line| line.contains("sync(") && line.contains('=')).count()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It has ended already if the process has.
        kill_process(Pid::from_child(&self.child), Signal::INT).ok();
        drop(self.child.wait());
    }
}
