//! One connection to one broker, kept up: made, watched, and made again until the node stops. It does not know
//! what is done with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crosstalk_contract::topology::BrokerAddress;
use crosstalk_host::Host;
use futures_util::StreamExt;
use lapin::{
    Connection, ErrorKind, Event,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError, constants::REPLY_SUCCESS},
    types::{FieldTable, ShortString},
};
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use crate::{LinkError, error::reason, handshake, links::LinkOptions, presence::Presence};

/// Failed attempts in a row before the first one is told: brokers and nodes start at the same time.
const UNTOLD: usize = 3;

/// Longest time for saying goodbye; a node has to stop within two seconds.
const CLOSE_MAX: Duration = Duration::from_millis(300);

/// The current connection, or why there is none.
type State = Result<Arc<Connection>, String>;

/// The link to one broker; cheap to clone.
#[derive(Clone)]
pub struct Link {
    broker: Arc<str>,
    options: LinkOptions,
    state: watch::Receiver<State>,
    presence: Arc<Presence>,
    generation: Arc<AtomicU64>,
}

impl Link {
    pub(crate) fn open(host: &Host, address: &BrokerAddress, options: LinkOptions) -> Self {
        let (sender, state) = watch::channel(Err("not connected yet".to_owned()));
        let broker = Arc::<str>::from(address.name.as_str());
        let presence = Arc::new(Presence::new(host.readiness().need(&format!("broker {broker}"))));
        let generation = Arc::<AtomicU64>::default();
        let keeper = Keeper {
            broker: Arc::clone(&broker),
            url: address.url.clone(),
            node: host.name(),
            presence: Arc::clone(&presence),
            generation: Arc::clone(&generation),
            options,
            state: sender,
        };
        let shutdown = host.shutdown().clone();
        host.spawn_to_end(async move {
            shutdown.run_until_cancelled(keeper.keep()).await;
            keeper.close().await;
        });
        Self { broker, options, state, presence, generation }
    }

    /// The broker's name in the topology.
    #[must_use]
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// How many times it has connected. A broker that was connected to again may have been started again, and
    /// what it had only in memory is lost then.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Says that the broker, although connected, did not answer in time. From then on one question is open there:
    /// its answer is a sign of life, also when nobody else asks anything.
    pub(crate) fn silent(&self, why: &str) {
        let mut state = self.state.clone();
        let Ok(connection) = state.borrow_and_update().clone() else { return };
        if self.presence.silent(why) {
            let presence = Arc::clone(&self.presence);
            tokio::spawn(async move {
                tokio::select! {
                    opened = connection.create_channel() => if opened.is_ok() {
                        presence.answers();
                    },
                    // The connection was lost: the next one begins anew.
                    _ = state.changed() => {}
                }
            });
        }
    }

    /// Says that the broker answered.
    pub(crate) fn answers(&self) {
        self.presence.answers();
    }

    /// The current connection, waiting for one at most for `within`.
    ///
    /// # Errors
    /// When there is none by then; says why the last attempt failed.
    pub async fn connection(&self, within: Duration) -> Result<Arc<Connection>, LinkError> {
        match timeout(within, self.up()).await {
            Ok(Some(connection)) => Ok(connection),
            _ => Err(self.not_there()),
        }
    }

    /// The same, for as long as [`Link::patience`].
    ///
    /// # Errors
    /// As [`Link::connection`].
    pub async fn connected(&self) -> Result<Arc<Connection>, LinkError> {
        self.connection(self.patience()).await
    }

    /// How long a broker that is about to come back is worth waiting for (`amqp.connect_timeout`).
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.options.connect_timeout.0
    }

    /// Pauses between attempts, for who has to try again on this link.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        self.options.pauses()
    }

    /// A connection as soon as there is one; `None` when the node stops.
    pub(crate) async fn up(&self) -> Option<Arc<Connection>> {
        let mut state = self.state.clone();
        loop {
            // A connection that was lost a moment ago may still stand here: what follows it is a change.
            let current = state.borrow_and_update().as_ref().ok().map(Arc::clone);
            if let Some(connection) = current.filter(|connection| connection.status().connected()) {
                return Some(connection);
            }
            state.changed().await.ok()?;
        }
    }

    fn not_there(&self) -> LinkError {
        let reason = self.state.borrow().as_ref().err().cloned();
        LinkError::NotThere {
            broker: self.broker.to_string(),
            reason: reason.unwrap_or_else(|| "the connection was lost".to_owned()),
        }
    }

    /// Turns an error of the client into one that names the broker and what was asked of it.
    pub(crate) fn refused(&self, action: impl Into<String>, error: &lapin::Error) -> LinkError {
        LinkError::Refused { broker: self.broker.to_string(), action: action.into(), reason: reason(error) }
    }

    /// How many messages wait in these queues together; `None` when the broker cannot be asked. One that does not
    /// exist holds none.
    pub async fn waiting_in(&self, queues: &[ShortString]) -> Option<u64> {
        let connection = self.connected().await.ok()?;
        let mut waiting = 0;
        for queue in queues {
            let asked = async {
                // A channel for each: asking for a queue that does not exist ends the channel.
                let channel = connection.create_channel().await?;
                let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(queue.clone(), passive, FieldTable::default()).await
            };
            waiting += match timeout(self.patience(), asked).await.ok()? {
                Ok(queue) => u64::from(queue.message_count()),
                Err(error) if is_not_found(&error) => 0,
                Err(_) => return None,
            };
        }
        Some(waiting)
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND),
        _ => false,
    }
}

/// Who keeps a link up.
struct Keeper {
    broker: Arc<str>,
    url: String,
    node: &'static str,
    presence: Arc<Presence>,
    generation: Arc<AtomicU64>,
    options: LinkOptions,
    state: watch::Sender<State>,
}

impl Keeper {
    async fn keep(&self) {
        let uri = match handshake::parse(&self.url, self.options.heartbeat_s()) {
            Ok(uri) => uri,
            Err(fault) => return self.missing(fault, true),
        };
        let mut pauses = self.options.pauses();
        let mut untold = UNTOLD;
        loop {
            match handshake::connect(uri.clone(), self.node, self.options.connect_timeout.0).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    // Before anybody can use it.
                    self.generation.fetch_add(1, Ordering::Release);
                    self.presence.connected();
                    let _ = self.state.send_replace(Ok(Arc::clone(&connection)));
                    let fault = self.lost(&connection).await;
                    self.missing(fault, true);
                    untold = 0;
                    pauses = self.options.pauses();
                }
                Err(fault) => {
                    self.missing(fault, untold == 0);
                    untold = untold.saturating_sub(1);
                }
            }
            tokio::time::sleep(pauses.next().unwrap_or(self.options.backoff_max.0)).await;
        }
    }

    /// Says goodbye, so that the broker need not take the node for dead.
    async fn close(&self) {
        let last = self.state.send_replace(Err("this node stops".to_owned()));
        if let Ok(connection) = last {
            // A broker that does not answer is left without.
            let _ = timeout(CLOSE_MAX, connection.close(REPLY_SUCCESS, ShortString::from("the node stops"))).await;
        }
    }

    fn missing(&self, fault: String, tell: bool) {
        self.presence.away(&fault, tell);
        let _ = self.state.send_replace(Err(fault));
    }

    /// Waits until the connection is lost, and says why.
    async fn lost(&self, connection: &Connection) -> String {
        let mut events = std::pin::pin!(connection.events_listener());
        let mut fault = None;
        // Events are told only to who listens already, so one that came before is found in the status.
        while connection.status().connected() {
            match events.next().await {
                // Errors of single channels are told here, too.
                Some(Event::Error(error)) => fault = Some(reason(&error)),
                Some(Event::ConnectionBlocked(why)) => warn!("broker {} takes no messages for now: {why}", self.broker),
                Some(Event::ConnectionUnblocked) => warn!("broker {} takes messages again", self.broker),
                Some(_) => {}
                None => break,
            }
        }
        fault.unwrap_or_else(|| "the connection was lost".to_owned())
    }
}
