//! RabbitMQ in a container of its own, at its best: on the host's network, without the management plugin.
//!
//! Does not know AMQP.

use std::fs;
use std::process::{Command, Stdio};

use super::{Setup, tail};
use crate::error::BenchError;

/// What to do when the engine does not do as it is told.
const REMEDY: &str = "start a container engine that `docker` can reach and pull the image, or leave RabbitMQ out with \
                      `--broker crosstalk`";

/// Open files that RabbitMQ may have: an engine's default of 1,024 fails at a thousand queues, and few engines are
/// themselves allowed less than this.
const DESCRIPTORS: u32 = 16_384;

/// The running container.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    process: u32,
}

impl Container {
    /// `port` is for AMQP, `distribution` for what Erlang nodes use among themselves.
    pub(super) fn start(setup: &Setup, port: u16, distribution: u16) -> Result<Self, BenchError> {
        let [conf, plugins, limits] =
            ["rabbitmq.conf", "enabled_plugins", "limits.conf"].map(|name| setup.directory.join(name));
        // No port of another RabbitMQ on this machine is in the way, and nothing listens on other than loopback.
        let text = format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.console.level = warning\n");
        fs::write(&conf, text).map_err(BenchError::file(&conf))?;
        // The management plugin collects statistics of every queue, at a cost that is not a broker's.
        fs::write(&plugins, "[].\n").map_err(BenchError::file(&plugins))?;
        // Images whose scripts go through `su` have the limit reset by it, unless this says otherwise.
        fs::write(&limits, format!("rabbitmq soft nofile {DESCRIPTORS}\n")).map_err(BenchError::file(&limits))?;
        let name = format!("broker-bench-{port}");
        let descriptors = format!("nofile={DESCRIPTORS}:{DESCRIPTORS}");
        let mut arguments: Vec<String> =
            ["run", "--detach", "--network", "host", "--ulimit", &descriptors, "--name", &name]
                .map(String::from)
                .to_vec();
        let environment = [
            format!("RABBITMQ_NODENAME=bench-{port}@localhost"),
            format!("RABBITMQ_DIST_PORT={distribution}"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            "ERL_EPMD_ADDRESS=127.0.0.1".to_owned(),
        ];
        arguments.extend(environment.into_iter().flat_map(|variable| ["--env".to_owned(), variable]));
        let mounts = [
            (&conf, "/etc/rabbitmq/conf.d/90-broker-bench.conf"),
            (&plugins, "/etc/rabbitmq/enabled_plugins"),
            (&limits, "/etc/security/limits.d/90-broker-bench.conf"),
        ];
        for (file, place) in mounts {
            let file = fs::canonicalize(file).map_err(BenchError::file(file))?;
            arguments.extend(["--volume".to_owned(), format!("{}:{place}", file.display())]);
        }
        arguments.push(setup.image.clone());
        let mut container = Self { name, process: 0 };
        docker(&arguments)?;
        let process = docker(&["inspect", "--format", "{{.State.Pid}}", &container.name])?;
        container.process = process.trim().parse().map_err(|_| failed("inspect", "no process id"))?;
        Ok(container)
    }

    pub(super) fn process(&self) -> u32 {
        self.process
    }

    pub(super) fn log(&self) -> String {
        tail(&docker(&["logs", "--tail", "40", &self.name]).unwrap_or_default())
    }

    pub(super) fn is_alive(&self) -> bool {
        docker(&["inspect", "--format", "{{.State.Running}}", &self.name]).is_ok_and(|running| running.trim() == "true")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // With its volume; it holds nothing but this run's messages.
        drop(docker(&["rm", "--force", "--volumes", &self.name]));
    }
}

fn failed(what: &str, problem: &str) -> BenchError {
    BenchError::Program { command: format!("docker {what}"), problem: problem.trim().to_owned(), remedy: REMEDY }
}

fn docker<S: AsRef<str>>(arguments: &[S]) -> Result<String, BenchError> {
    let what = arguments.first().map_or("", AsRef::as_ref);
    let mut command = Command::new("docker");
    command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    let output = command.output().map_err(|error| failed(what, &error.to_string()))?;
    if !output.status.success() {
        return Err(failed(what, &String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
