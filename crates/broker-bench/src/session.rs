//! Takes the rows, the repetitions and the brokers in turn, so that what else the machine does hits all alike.
//!
//! Does not know how a table looks, nor how a measurement is made.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::brokers::{Broker, Setup, Source};
use crate::error::BenchError;
use crate::growth::{self, Growth};
use crate::options::Options;
use crate::resting::{self, Resting};
use crate::rows::{Row, Task};
use crate::stream::{Measurement, Sample};
use crate::syncs::{self, Syncs};

/// What one row gave for one broker, run by run.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The row.
    pub row: String,
    /// The broker.
    pub broker: String,
    /// What came out, in the order of the runs.
    pub runs: Vec<Outcome>,
}

/// What a run gave.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Figures of a steady state.
    Stream(Sample),
    /// Memory.
    Resting(Resting),
    /// Cost while a queue grew and shrank.
    Growth(Growth),
    /// Syncs.
    Syncs(Syncs),
    /// Why there is no figure.
    Failed(String),
}

/// Everything of one session.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Results {
    /// Name, and product and version as the broker says, in the order given.
    pub brokers: Vec<(String, String)>,
    /// By row, and within it by broker.
    pub measured: Vec<Measured>,
}

impl Results {
    /// Whether a run gave no figure.
    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.measured.iter().flat_map(|measured| &measured.runs).any(|run| matches!(run, Outcome::Failed(_)))
    }
}

/// A session under way; ends the brokers that it started when it goes.
#[derive(Debug)]
pub struct Session<'a> {
    options: &'a Options,
    sources: Vec<Source>,
    setup: Setup,
    brokers: Vec<Broker>,
    interrupted: Arc<AtomicBool>,
    directory: Scratch,
}

/// A directory of this run alone.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
        // Goes only if no other run uses it.
        drop(self.0.parent().map(fs::remove_dir));
    }
}

impl<'a> Session<'a> {
    /// Starts the brokers.
    ///
    /// # Errors
    /// When one cannot be started or is not ready in time.
    pub fn start(options: &'a Options, interrupted: Arc<AtomicBool>) -> Result<Self, BenchError> {
        let directory = options.data.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(BenchError::file(&directory))?;
        let setup = Setup {
            program: options.program.clone(),
            arguments: options.broker_arguments.clone(),
            image: options.image.clone(),
            directory: directory.clone(),
        };
        let directory = Scratch(directory);
        let mut session =
            Self { options, sources: options.sources(), setup, brokers: Vec::new(), interrupted, directory };
        for at in 0..session.sources.len() {
            let broker = session.start_broker(at)?;
            session.brokers.push(broker);
        }
        Ok(session)
    }

    fn start_broker(&self, at: usize) -> Result<Broker, BenchError> {
        let start = Instant::now();
        let what = match &self.sources[at] {
            Source::Own => "starting our broker",
            Source::RabbitMq => "starting RabbitMQ in a container (some 10 s)",
            Source::Given { .. } => "connecting to the broker given",
        };
        tell(&format!("{what} ..."));
        let broker = Broker::start(&self.sources[at], &self.setup, &self.interrupted)?;
        let process = broker.processes.as_ref().map(|processes| format!(", process {}", processes.ids()[0]));
        tell(&format!(
            "{}: {} ready after {:.1} s{}",
            broker.name,
            broker.server,
            start.elapsed().as_secs_f64(),
            process.unwrap_or_default()
        ));
        Ok(broker)
    }

    /// Runs every row. After Ctrl-C, gives what there is.
    ///
    /// # Errors
    /// When a broker cannot be started anew. What fails in a row is in the results.
    pub fn run(&mut self, rows: &[Row]) -> Result<Results, BenchError> {
        let brokers = self.brokers.iter().map(|broker| (broker.name.clone(), broker.server.clone())).collect();
        let mut results = Results { brokers, measured: Vec::new() };
        let repeat = |row: &Row| if row.task.is_run_once() { 1 } else { self.options.repeat };
        let total: usize = rows.iter().map(|row| repeat(row) as usize * self.brokers.len()).sum();
        let repeats: Vec<u32> = rows.iter().map(repeat).collect();
        let mut number = 0;
        for (row, repeat) in rows.iter().zip(repeats) {
            let first = results.measured.len();
            for broker in &self.brokers {
                results.measured.push(Measured {
                    row: row.name.clone(),
                    broker: broker.name.clone(),
                    runs: Vec::new(),
                });
            }
            for _ in 0..repeat {
                for at in 0..self.brokers.len() {
                    number += 1;
                    if self.interrupted.load(Ordering::Relaxed) {
                        return Ok(results);
                    }
                    if row.task.needs_fresh_broker() && self.brokers[at].is_ours_to_restart() {
                        self.restart(at)?;
                    }
                    let name = &self.brokers[at].name;
                    tell(&format!("[{number}/{total}] {} · {name} ...", row.name));
                    let outcome = self.measure(row, &self.brokers[at]);
                    tell(&format!("[{number}/{total}] {} · {name}: {}", row.name, outcome.in_short()));
                    results.measured[first + at].runs.push(outcome);
                }
            }
        }
        Ok(results)
    }

    fn restart(&mut self, at: usize) -> Result<(), BenchError> {
        let fresh = self.start_broker(at)?;
        self.brokers[at] = fresh;
        Ok(())
    }

    fn measure(&self, row: &Row, broker: &Broker) -> Outcome {
        let (uri, processes, interrupted) = (&broker.uri, broker.processes.as_ref(), &self.interrupted);
        let Options { messages, ack_every, .. } = *self.options;
        let outcome = match &row.task {
            Task::Idle => resting::idle(processes, interrupted).map(Outcome::Resting),
            Task::Backlog { messages, body_bytes } => {
                resting::backlog(uri, processes, *messages, *body_bytes, interrupted).map(Outcome::Resting)
            }
            Task::Growth => {
                let tell = |line: &str| tell(&format!("    {line}"));
                growth::run(uri, processes, messages, ack_every, interrupted, &tell).map(Outcome::Growth)
            }
            Task::Syncs(kind) => syncs::run(uri, *kind, processes, &self.directory.0, interrupted).map(Outcome::Syncs),
            Task::Stream(load, crowd) => {
                let measurement = Measurement {
                    uri,
                    processes,
                    load: load.clone(),
                    crowd: *crowd,
                    warm_up: self.options.warm_up,
                    duration: self.options.duration,
                    interrupted: Arc::clone(interrupted),
                };
                measurement.run().map(Outcome::Stream)
            }
        };
        outcome.unwrap_or_else(|error| {
            let log = broker.log();
            if !log.is_empty() {
                tell(&format!("    the end of {}'s log:\n{log}", broker.name));
            }
            Outcome::Failed(error.to_string())
        })
    }
}

impl Outcome {
    fn in_short(&self) -> String {
        match self {
            Self::Stream(sample) => {
                let cost = sample.broker_us_per_message.map(|us| format!(", {us:.1} µs of broker CPU each"));
                format!("{:.0} msg/s{}", sample.messages_per_s, cost.unwrap_or_default())
            }
            Self::Resting(resting) => format!("{:.1} MiB", resting.rss_mib),
            Self::Growth(growth) => format!("{} messages in and out", growth.messages),
            Self::Syncs(syncs) => format!("{} syncs for {} confirms", syncs.syncs, syncs.confirms),
            Self::Failed(reason) => format!("FAILED: {reason}"),
        }
    }
}

/// A line about what is going on, for whoever waits.
fn tell(line: &str) {
    // Nobody may be looking.
    drop(writeln!(io::stderr(), "{line}"));
}
