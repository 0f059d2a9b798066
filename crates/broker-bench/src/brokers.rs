//! The brokers under measurement: started here and stopped again, or already there.
//!
//! Does not know what is measured with them.

mod own;
mod rabbitmq;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;

use crate::connection::Connection;
use crate::error::BenchError;
use crate::process::Processes;

/// How long a broker may take to be ready; RabbitMQ needs 5 to 15 s on a small machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often it is tried whether it is.
const READY_LOOK: Duration = Duration::from_millis(100);

/// Where a broker comes from, as given with `--broker`.
#[derive(Debug, Clone)]
pub enum Source {
    /// Our own, started here.
    Own,
    /// RabbitMQ, started here in a container.
    RabbitMq,
    /// One that runs already.
    Given {
        /// What to call it.
        name: String,
        /// Where it is.
        uri: Box<AMQPUri>,
        /// Its process on this machine.
        process: Option<u32>,
    },
}

impl FromStr for Source {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        match text {
            "crosstalk" => return Ok(Self::Own),
            "rabbitmq" => return Ok(Self::RabbitMq),
            _ => {}
        }
        let wrong = || BenchError::Address(text.to_owned());
        let (name, address) = text.split_once('=').ok_or_else(wrong)?;
        let (address, process) = match address.rsplit_once(",pid=") {
            Some((address, process)) => (address, Some(process.parse().map_err(|_| wrong())?)),
            None => (address, None),
        };
        let uri = address.parse().map_err(|_| wrong())?;
        Ok(Self::Given { name: name.to_owned(), uri: Box::new(uri), process })
    }
}

/// How brokers are started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Our broker's program.
    pub program: PathBuf,
    /// More arguments for it.
    pub arguments: Vec<String>,
    /// RabbitMQ's image.
    pub image: String,
    /// Where our broker keeps its data, and this program its logs.
    pub directory: PathBuf,
}

/// A broker that is ready.
#[derive(Debug)]
pub struct Broker {
    /// What a table calls it.
    pub name: String,
    /// Where it is.
    pub uri: AMQPUri,
    /// Its product and version, as it says.
    pub server: String,
    /// Its processes, if they are on this machine and known.
    pub processes: Option<Processes>,
    running: Running,
}

/// What is to be stopped in the end.
#[derive(Debug)]
enum Running {
    Own(own::Process),
    RabbitMq(rabbitmq::Container),
    Elsewhere,
}

impl Running {
    fn process(&self) -> Option<u32> {
        match self {
            Self::Own(process) => Some(process.id()),
            Self::RabbitMq(container) => Some(container.process()),
            Self::Elsewhere => None,
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Own(process) => process.log(),
            Self::RabbitMq(container) => container.log(),
            Self::Elsewhere => String::new(),
        }
    }

    fn is_alive(&mut self) -> bool {
        match self {
            Self::Own(process) => process.is_alive(),
            Self::RabbitMq(container) => container.is_alive(),
            Self::Elsewhere => true,
        }
    }
}

impl Broker {
    /// Starts it, if it is one to be started, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or is not ready in time.
    pub fn start(source: &Source, setup: &Setup, interrupted: &AtomicBool) -> Result<Self, BenchError> {
        let (name, uri, mut running) = match source {
            Source::Own => {
                let port = free_port()?;
                ("crosstalk".to_owned(), local(port)?, Running::Own(own::Process::start(setup, port)?))
            }
            Source::RabbitMq => {
                let ports = (free_port()?, free_port()?);
                let container = rabbitmq::Container::start(setup, ports.0, ports.1)?;
                ("rabbitmq".to_owned(), local(ports.0)?, Running::RabbitMq(container))
            }
            Source::Given { name, uri, .. } => (name.clone(), *uri.clone(), Running::Elsewhere),
        };
        let server = wait_until_ready(&name, &uri, &mut running, interrupted)?;
        let root = match source {
            Source::Given { process, .. } => *process,
            Source::Own | Source::RabbitMq => running.process(),
        };
        let processes = root.map(Processes::tree).transpose()?;
        Ok(Self { name, uri, server, processes, running })
    }

    /// The last lines of its log, if it was started here.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Whether it was started here, and so can be started anew.
    #[must_use]
    pub fn is_ours_to_restart(&self) -> bool {
        !matches!(self.running, Running::Elsewhere)
    }
}

fn wait_until_ready(
    name: &str,
    uri: &AMQPUri,
    running: &mut Running,
    interrupted: &AtomicBool,
) -> Result<String, BenchError> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        match Connection::open(uri) {
            Ok(connection) => {
                let server = connection.server().to_owned();
                connection.close()?;
                return Ok(server);
            }
            Err(error) if matches!(running, Running::Elsewhere) => return Err(error),
            Err(error) => {
                if !running.is_alive() || Instant::now() > deadline {
                    let log = running.log();
                    let (name, seconds, last) = (name.to_owned(), READY_MAX.as_secs(), error.to_string());
                    return Err(BenchError::NotReady { name, seconds, last, log });
                }
            }
        }
        thread::sleep(READY_LOOK);
    }
}

/// A port that was free a moment ago. Another program may take it meanwhile; the broker says so then.
fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(BenchError::io("looking for a free port"))?;
    Ok(listener.local_addr().map_err(BenchError::io("looking for a free port"))?.port())
}

fn local(port: u16) -> Result<AMQPUri, BenchError> {
    let address = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    address.parse().map_err(|_| BenchError::Address(address))
}

/// The last lines of a log.
fn tail(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// The program that lies beside this one: both come out of one build.
#[must_use]
pub fn beside(name: &str) -> PathBuf {
    let here = std::env::current_exe().ok();
    here.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from(name), |directory| directory.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_name_and_an_address() {
        assert!(matches!("crosstalk".parse(), Ok(Source::Own)));
        let Ok(Source::Given { name, uri, process }) = "x=amqp://a:b@host:5673/v,pid=12".parse() else { panic!() };
        assert_eq!((name.as_str(), uri.authority.port, uri.vhost.as_str(), process), ("x", 5673, "v", Some(12)));
        for wrong in ["x", "x=host", "x=amqp://h,pid=y"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_is_cut_to_its_end() {
        let text: Vec<String> = (0..30).map(|line| line.to_string()).collect();
        assert!(tail(&text.join("\n")).starts_with("10\n"));
        assert_eq!(tail("one"), "one");
    }
}
