//! One node as a process: started, told, watched, started again after a fault, ended. It does not know which
//! node it is.

use std::{path::PathBuf, process::Stdio, time::Duration};

use crosstalk_contract::{describe::Announcement, topology::NodeAddress};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{self, ChildStdin, ChildStdout},
    time::timeout,
};

use tokio_util::sync::CancellationToken;

use super::{ClusterError, LocalOptions, logs::Log};

/// Exit code of a node with a wrong option or address.
const CANNOT_WORK: i32 = 2;

/// How one node is to be started.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) address: NodeAddress,
    pub(super) amqp: Option<String>,
    pub(super) data: PathBuf,
    pub(super) forwarded: Vec<String>,
}

/// One node's process.
pub(super) struct Child {
    plan: Plan,
    log: Log,
    process: process::Child,
    /// Held open: its end tells the node that this program is gone.
    stdin: Option<ChildStdin>,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Child {
    pub(super) fn spawn(plan: Plan, log: Log) -> Result<Self, ClusterError> {
        let failed = |source| ClusterError::Io { what: format!("start {}", plan.name), source };
        let mut command = process::Command::new(std::env::current_exe().map_err(failed)?);
        command.args([plan.name.as_str(), "--managed", "--topology", "-", "--listen", &plan.address.http]);
        if let Some(udp) = &plan.address.udp {
            command.args(["--listen-udp", udp]);
        }
        if let Some(amqp) = &plan.amqp {
            command.args(["--listen-amqp", amqp]);
        }
        command.arg("--data").arg(&plan.data).args(&plan.forwarded);
        // Addresses come from here; what the environment says of them is for nodes started alone.
        for variable in ["CROSSTALK_LISTEN", "CROSSTALK_LISTEN_UDP", "CROSSTALK_LISTEN_AMQP", "CROSSTALK_DATA"] {
            command.env_remove(variable);
        }
        // A group of its own, so that Ctrl-C comes to this program alone, which then ends all in order.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        if let Some(stderr) = process.stderr.take() {
            log.forward(stderr);
        }
        Ok(Self { plan, log, process, stdin, stdout })
    }

    /// Waits until the node says where it listens.
    pub(super) async fn announced(&mut self, patience: Duration) -> Result<Announcement, ClusterError> {
        let failed = |reason: String| ClusterError::Start { name: self.plan.name.clone(), reason };
        let Some(stdout) = &mut self.stdout else { return Err(failed("it has no standard output".to_owned())) };
        match timeout(patience, stdout.next_line()).await {
            Err(_) => Err(failed(format!("it did not say where it listens within {patience:?}"))),
            Ok(Ok(Some(line))) => serde_json::from_str(&line).map_err(|error| failed(format!("{error} in {line:?}"))),
            Ok(_) => {
                let status =
                    self.process.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(failed(format!("it ended at once ({status}); its last words: {}", self.log.last_words())))
            }
        }
    }

    /// From now on the node is started again where it was first.
    pub(super) fn fix(&mut self, announcement: &Announcement) {
        self.plan.address.http.clone_from(&announcement.http);
        self.plan.address.udp.clone_from(&announcement.udp);
        self.plan.amqp.clone_from(&announcement.amqp);
    }

    /// Tells the node where everyone is.
    pub(super) async fn tell(&mut self, topology: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A node that is gone already is noticed by its end.
            let _ = stdin.write_all(format!("{topology}\n").as_bytes()).await;
            let _ = stdin.flush().await;
        }
    }

    /// Watches the node until the cluster ends; one that ends by itself is started again.
    pub(super) async fn live(mut self, topology: String, options: LocalOptions, ending: CancellationToken) {
        let mut restarts = 0;
        loop {
            tokio::select! {
                () = ending.cancelled() => return self.end(options.stop_grace.0).await,
                status = self.process.wait() => {
                    // A node that says that it cannot work as it was started would say so again.
                    let final_word = status.as_ref().is_ok_and(|status| status.code() == Some(CANNOT_WORK));
                    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    if final_word {
                        return self.log.note(&format!("{} ended ({how}) and is not started again; its last words: {}", self.plan.name, self.log.last_words()));
                    }
                    if restarts == options.restarts_max {
                        return self.log.note(&format!("{} ended ({how}) and is not started again after {restarts} times", self.plan.name));
                    }
                    self.log.note(&format!("{} ended ({how}); starting it again in {:?}", self.plan.name, options.restart_delay.0));
                }
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(options.restart_delay.0) => {}
            }
            restarts += 1;
            match Self::spawn(self.plan.clone(), self.log.clone()) {
                Ok(again) => self = again,
                Err(error) => return self.log.note(&error.to_string()),
            }
            // A node that hangs before it has said anything must not keep the cluster from ending.
            match ending.run_until_cancelled(self.announced(options.start_timeout.0)).await {
                Some(Ok(_)) => self.tell(&topology).await,
                Some(Err(error)) => self.log.note(&error.to_string()),
                None => return self.end(options.stop_grace.0).await,
            }
        }
    }

    /// SIGTERM, and SIGKILL for a node that has not ended within `grace`.
    async fn end(mut self, grace: Duration) {
        if let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(grace, self.process.wait()).await.is_err() {
            self.log.note(&format!("{} did not end within {grace:?}: killed", self.plan.name));
            let _ = self.process.kill().await;
        }
    }
}
