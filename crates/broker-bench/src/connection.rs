//! One blocking AMQP connection with one channel: handshake, calls, and the frames in between.
//!
//! Works with any AMQP 0-9-1 broker. Does not know what is measured over it.

mod topology;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;

pub use topology::QueueKind;
pub(crate) use topology::stream_of;

use crate::error::BenchError;
use crate::wire::{Event, Inbound, Method, PROTOCOL_HEADER, read_event, read_server_name};

/// The channel that everything happens on.
pub const CHANNEL: u16 = 1;
/// How long a broker may be silent when something is due. Long, so that a broker that collects garbage or syncs a slow
/// disk is not taken for a dead one.
pub const STALL: Duration = Duration::from_secs(30);
/// How often a waiting client looks up, whether it was told to end.
const TICK: Duration = Duration::from_millis(100);
/// Receive buffer, and so the largest frame: above the 131,072 octets that both brokers offer.
const INBOUND_BYTES: usize = 256 * 1024;
/// The largest frame that the client agrees to.
const FRAME_MAX: u32 = 131_072;

/// A connection that is open.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    inbound: Inbound,
    server: String,
    blocked: Option<String>,
}

impl Connection {
    /// Connects, logs in with PLAIN, opens the virtual host and one channel.
    ///
    /// # Errors
    /// When nobody listens, or the broker refuses.
    pub fn open(uri: &AMQPUri) -> Result<Self, BenchError> {
        let authority = &uri.authority;
        let address = format!("{}:{}", authority.host, authority.port);
        let stream = TcpStream::connect((authority.host.as_str(), authority.port))
            .map_err(|source| BenchError::Connect { address, source })?;
        stream.set_nodelay(true).map_err(BenchError::io("connecting"))?;
        stream.set_read_timeout(Some(TICK)).map_err(BenchError::io("connecting"))?;
        let inbound = Inbound::new(INBOUND_BYTES);
        let mut connection = Self { stream, inbound, server: String::new(), blocked: None };
        connection.send(&PROTOCOL_HEADER)?;
        let start = connection.wait_for(10, 10, "connecting")?;
        connection.server = read_server_name(&start)?;
        let secret = format!("\0{}\0{}", authority.userinfo.username, authority.userinfo.password);
        let start_ok = Method::new(0, 10, 11).table(&[("product", "broker-bench")]).short_string("PLAIN");
        connection.send(&start_ok.long_string(secret.as_bytes()).short_string("en_US").finish())?;
        connection.wait_for(10, 30, "logging in")?;
        // One channel. Heartbeat 0: none, so that a paused client is not dropped.
        connection.send(&Method::new(0, 10, 31).short(1).long(FRAME_MAX).short(0).finish())?;
        connection.send(&Method::new(0, 10, 40).short_string(&uri.vhost).short_string("").octet(0).finish())?;
        connection.wait_for(10, 41, "opening the virtual host")?;
        connection.call(Method::new(CHANNEL, 20, 10).short_string(""), 11, "opening a channel")?;
        Ok(connection)
    }

    /// The broker's product and version, as it says.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What the broker gave as the reason, while it blocks publishers.
    #[must_use]
    pub fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    /// Sends whole frames.
    ///
    /// # Errors
    /// When the broker hung up.
    pub fn send(&mut self, frames: &[u8]) -> Result<(), BenchError> {
        self.stream.write_all(frames).map_err(BenchError::io("sending"))
    }

    /// Reads once; `false` when nothing came for a tick.
    ///
    /// # Errors
    /// When the broker hung up.
    pub fn receive(&mut self) -> Result<bool, BenchError> {
        match self.inbound.fill(&mut self.stream) {
            Ok(0) => Err(BenchError::HungUp("receiving")),
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(source) => Err(BenchError::Io { what: "receiving", source }),
        }
    }

    /// Hands every frame that is here to `each`; what concerns the connection itself is dealt with here.
    ///
    /// # Errors
    /// Those of `each`; when the broker closes or sends what it must not.
    pub fn drain(&mut self, mut each: impl FnMut(Event<'_>) -> Result<(), BenchError>) -> Result<(), BenchError> {
        while let Some(frame) = self.inbound.next_frame()? {
            match read_event(&frame)? {
                Event::Blocked(reason) => self.blocked = Some(String::from_utf8_lossy(reason).into_owned()),
                Event::Unblocked => self.blocked = None,
                Event::Heartbeat => {}
                Event::Cancelled => return Err(BenchError::Cancelled),
                Event::Close { class, code, text } => {
                    let what = if class == 10 { "connection" } else { "channel" };
                    return Err(BenchError::Closed { what, code, text: String::from_utf8_lossy(text).into_owned() });
                }
                event => each(event)?,
            }
        }
        Ok(())
    }

    /// Calls a method of the channel and waits for its answer, `answer` of the same class; gives its arguments.
    ///
    /// # Errors
    /// When the broker closes instead, or does not answer.
    pub(crate) fn call(&mut self, request: Method, answer: u16, what: &'static str) -> Result<Vec<u8>, BenchError> {
        let frame = request.finish();
        let class = u16::from_be_bytes([frame[7], frame[8]]);
        self.send(&frame)?;
        self.wait_for(class, answer, what)
    }

    fn wait_for(&mut self, class: u16, method: u16, what: &'static str) -> Result<Vec<u8>, BenchError> {
        let deadline = Instant::now() + STALL;
        let mut answer = None;
        while answer.is_none() {
            if Instant::now() > deadline {
                return Err(self.stalled(what));
            }
            match self.receive() {
                Err(BenchError::HungUp(_)) => return Err(BenchError::HungUp(what)),
                received => received?,
            };
            self.drain(|event| {
                if let Event::Method { class: c, method: m, arguments } = event
                    && (c, m) == (class, method)
                {
                    answer = Some(arguments.to_vec());
                }
                Ok(())
            })?;
        }
        answer.ok_or_else(|| self.stalled(what))
    }

    /// The error for a broker that is silent when something is due.
    #[must_use]
    pub fn stalled(&self, what: &'static str) -> BenchError {
        let blocked = self.blocked().map(|reason| format!("; the broker blocks publishers: {reason}"));
        BenchError::Stalled { seconds: STALL.as_secs(), what, blocked: blocked.unwrap_or_default() }
    }

    /// Closes in order, so that the broker's log stays free of warnings.
    ///
    /// # Errors
    /// When the broker does not agree.
    pub fn close(mut self) -> Result<(), BenchError> {
        let close = Method::new(0, 10, 50).short(200).short_string("done").short(0).short(0);
        self.call(close, 51, "closing").map(drop)
    }
}

/// File descriptors that the rows with the most connections need, with room for a program's own.
const DESCRIPTORS: u64 = 2048;

/// Raises the number of files that may be open, for this process and those that it starts, as far as the row with the
/// most connections needs; usual limits are half of it.
///
/// # Errors
/// When the system does not allow as many.
pub fn allow_many() -> Result<(), BenchError> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= DESCRIPTORS) {
        return Ok(());
    }
    limit.current = Some(DESCRIPTORS);
    let allowed = limit.maximum.unwrap_or_default();
    setrlimit(Resource::Nofile, limit).map_err(|_| BenchError::Descriptors { needed: DESCRIPTORS, allowed })
}
