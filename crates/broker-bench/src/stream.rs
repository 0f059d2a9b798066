//! One measurement in steady state: warm up, measure for a while, stop, count every message.
//!
//! Does not know which row it is for, nor how brokers are started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;
use serde::Serialize;

use crate::connection::Connection;
use crate::error::BenchError;
use crate::load::{
    Client, Consumed, Consumer, Crowd, CrowdPace, LapinPair, Progress, Published, Times, Workload, publish,
};
use crate::process::Processes;

/// How often memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// Connections beside the main pair, or instead of it.
#[derive(Debug, Clone, Copy)]
pub struct CrowdLoad {
    /// Connections.
    pub size: usize,
    /// How fast they go.
    pub pace: CrowdPace,
    /// Octets of a body.
    pub body_bytes: usize,
}

/// What to measure, and against what.
#[derive(Debug, Clone)]
pub struct Measurement<'a> {
    /// The broker.
    pub uri: &'a AMQPUri,
    /// Its processes, if known.
    pub processes: Option<&'a Processes>,
    /// The main pair's load.
    pub load: Option<Workload>,
    /// The others.
    pub crowd: Option<CrowdLoad>,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// Set by Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
}

/// What one measurement gave.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sample {
    /// Deliveries in a second, each copy counted.
    pub messages_per_s: f64,
    /// From sending to confirm.
    pub confirm_p50_ms: Option<f64>,
    /// The same, 99 of 100 below.
    pub confirm_p99_ms: Option<f64>,
    /// The same, the longest.
    pub confirm_max_ms: Option<f64>,
    /// From sending to delivery.
    pub end_to_end_p50_ms: Option<f64>,
    /// The same, 99 of 100 below.
    pub end_to_end_p99_ms: Option<f64>,
    /// CPUs that the broker kept busy.
    pub broker_cores: Option<f64>,
    /// CPU time of the broker for each delivery, in microseconds.
    pub broker_us_per_message: Option<f64>,
    /// The broker's resident memory at its highest, in MiB.
    pub rss_peak_mib: Option<f64>,
    /// CPUs that the client kept busy.
    pub client_cores: f64,
    /// Messages published in all, warm-up included; all of them were delivered.
    pub published: u64,
}

impl Measurement<'_> {
    /// Measures.
    ///
    /// # Errors
    /// When the broker fails or is silent, and when messages are lost, duplicated or out of order.
    pub fn run(&self) -> Result<Sample, BenchError> {
        let mut control = Connection::open(self.uri)?;
        if let Some(load) = &self.load {
            load.set_up(&mut control)?;
        }
        let progress = Progress::new(Arc::clone(&self.interrupted));
        let sample = self.with_threads(&progress)?;
        if let Some(load) = &self.load {
            load.tear_down(&mut control)?;
        }
        control.close()?;
        Ok(sample)
    }

    fn with_threads(&self, progress: &Progress) -> Result<Sample, BenchError> {
        let crowd = self
            .crowd
            .map(|crowd| Crowd::open(self.uri, crowd.size, crowd.body_bytes, progress).map(|open| (open, crowd.pace)));
        let crowd = crowd.transpose()?;
        thread::scope(|scope| {
            let (ready, is_ready) = mpsc::channel::<()>();
            let pair = self.load.as_ref().map(|load| scope.spawn(move || self.pair(load, progress, ready)));
            let crowd = crowd.map(|(crowd, pace)| scope.spawn(move || crowd.run(pace, progress)));
            // Ends at once if the pair failed, or there is none: then the sending end is gone.
            let _ = is_ready.recv();
            let ended = || is_finished(pair.as_ref()) || is_finished(crowd.as_ref());
            let window = self.observe(progress, ended);
            progress.stop.store(true, Ordering::Relaxed);
            let pair = pair.map(|thread| join(thread, "pair")).transpose()?;
            let crowd = crowd.map(|thread| join(thread, "crowd")).transpose()?;
            let mut sample = window?;
            sample.published = progress.published.load(Ordering::Relaxed);
            if let Some((published, consumed)) = pair {
                sample.set_times(&published.confirm, &consumed.end_to_end);
            } else if let Some(confirm) = crowd {
                sample.set_times(&confirm, &Times::new());
            }
            Ok(sample)
        })
    }

    fn pair(
        &self,
        load: &Workload,
        progress: &Progress,
        ready: mpsc::Sender<()>,
    ) -> Result<(Published, Consumed), BenchError> {
        match load.client {
            Client::Lapin => {
                let pair = LapinPair::open(self.uri, load)?;
                drop(ready);
                pair.run(load, progress)
            }
            Client::Raw => {
                let consumer = Consumer::open(self.uri, load)?;
                drop(ready);
                thread::scope(|scope| {
                    let consumer = scope.spawn(|| {
                        consumer.run(load, progress).inspect_err(|_| progress.stop.store(true, Ordering::Relaxed))
                    });
                    let published = publish(self.uri, load, progress, u64::MAX);
                    if published.is_err() {
                        // There is nothing to wait for; what the consumer says then is only a consequence.
                        progress.finish(0);
                    }
                    let consumed = join(consumer, "consumer");
                    Ok((published?, consumed?))
                })
            }
        }
    }

    /// Waits for the warm-up and the measured time, and takes what was used in the latter.
    fn observe(&self, progress: &Progress, ended: impl Fn() -> bool) -> Result<Sample, BenchError> {
        self.wait(self.warm_up, progress, &ended)?;
        let own = Processes::own();
        let used = || (self.processes.map(Processes::cpu_seconds), own.cpu_seconds());
        let ((broker_before, own_before), before, start) =
            (used(), progress.delivered.load(Ordering::Relaxed), Instant::now());
        progress.recording.store(true, Ordering::Relaxed);
        let rss_peak = self.wait(self.duration, progress, &ended)?;
        progress.recording.store(false, Ordering::Relaxed);
        let ((broker_after, own_after), seconds) = (used(), start.elapsed().as_secs_f64());
        let messages = (progress.delivered.load(Ordering::Relaxed) - before) as f64;
        let broker_seconds = broker_after.zip(broker_before).map(|(after, before)| after - before);
        Ok(Sample {
            messages_per_s: messages / seconds,
            broker_cores: broker_seconds.map(|used| used / seconds),
            broker_us_per_message: broker_seconds.filter(|_| messages > 0.0).map(|used| used * 1e6 / messages),
            rss_peak_mib: rss_peak,
            client_cores: (own_after - own_before) / seconds,
            ..Sample::default()
        })
    }

    /// Waits; gives the highest resident memory meanwhile, in MiB. Ends early when a thread of the load has ended.
    fn wait(&self, time: Duration, progress: &Progress, ended: impl Fn() -> bool) -> Result<Option<f64>, BenchError> {
        let deadline = Instant::now() + time;
        let mut peak = 0;
        while Instant::now() < deadline && !ended() {
            progress.go_on()?;
            thread::sleep(SAMPLE_INTERVAL.min(deadline.saturating_duration_since(Instant::now())));
            peak = self.processes.map_or(0, Processes::rss_bytes).max(peak);
        }
        Ok(self.processes.map(|_| mib(peak)))
    }
}

impl Sample {
    fn set_times(&mut self, confirm: &Times, end_to_end: &Times) {
        self.confirm_p50_ms = confirm.ms_at(0.5);
        self.confirm_p99_ms = confirm.ms_at(0.99);
        self.confirm_max_ms = confirm.ms_at(1.0);
        self.end_to_end_p50_ms = end_to_end.ms_at(0.5);
        self.end_to_end_p99_ms = end_to_end.ms_at(0.99);
    }
}

/// Octets as MiB.
#[must_use]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn is_finished<T>(thread: Option<&ScopedJoinHandle<'_, T>>) -> bool {
    thread.is_some_and(ScopedJoinHandle::is_finished)
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T, BenchError>>, who: &'static str) -> Result<T, BenchError> {
    thread.join().map_err(|_| BenchError::Panicked(who))?
}
