//! The broker as its owner sees it: a handle, a listener that is served, a shutdown.
//!
//! Does not know the protocol (`connection`) or what is decided with it (`engine`).

mod driver;
mod outbox;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use driver::Input;
pub(crate) use outbox::{Outbox, OutboxGauge, OutboxReceiver};

use crate::connection::{self, Peer};
use crate::engine::{Command, ConnectionId, Snapshot};
use crate::options::Options;
use driver::Driver;

/// Batches of commands on their way to the engine, over all connections. A connection that finds it full waits, and
/// stops reading meanwhile; each batch is what one read of a socket gave.
const ENGINE_QUEUE_BATCHES: usize = 64;
/// How long to wait before accepting again when the process is out of file descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why a broker could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The listener does not even know its own address.
    #[error("cannot read the listener's address")]
    Listener(#[source] io::Error),
    /// The task that owns all state has ended; only a defect can cause it.
    #[error("the broker's engine has ended")]
    EngineEnded,
}

/// What all connections of a broker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) engine: mpsc::Sender<Input>,
    /// Whether publishers are to wait because of the bound on held messages.
    pub(crate) alarm: watch::Receiver<bool>,
    last_connection: AtomicU64,
    places: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.last_connection.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A handle to a broker. Clones are the same broker; it ends when the last one and all connections are gone.
#[derive(Clone, Debug)]
pub struct Broker {
    shared: Arc<Shared>,
}

impl Broker {
    /// Starts a broker with no listener. Must be called inside a Tokio runtime, which then runs its engine.
    pub fn new(options: Options) -> Self {
        let (engine, inputs) = mpsc::channel(ENGINE_QUEUE_BATCHES);
        let (raise_alarm, alarm) = watch::channel(false);
        tokio::spawn(Driver::new(&options, raise_alarm).run(inputs));
        let places = Arc::new(Semaphore::new(options.limits.connections.min(Semaphore::MAX_PERMITS)));
        Self { shared: Arc::new(Shared { options, engine, alarm, last_connection: AtomicU64::new(0), places }) }
    }

    /// Serves AMQP on a bound listener until `shutdown` is cancelled. Then all connections of this broker, those of
    /// other listeners too, are closed with 320 CONNECTION_FORCED, and what has not ended after
    /// [`Limits::close`](crate::Limits::close) is dropped.
    ///
    /// # Errors
    /// [`BrokerError::Listener`] if the listener is not usable, [`BrokerError::EngineEnded`] after a defect.
    /// Faults of single connections are logged and end only them.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), BrokerError> {
        let address = listener.local_addr().map_err(BrokerError::Listener)?;
        tracing::info!(%address, "listening for AMQP");
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.shared.engine.closed() => return Err(BrokerError::EngineEnded),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.accept(&mut connections, stream, peer, &shutdown),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(listener);
        tracing::info!(%address, connections = connections.len(), "shutting down");
        let told = self.shared.engine.send(Input::Commands(vec![Command::Shutdown])).await;
        told.map_err(|_| BrokerError::EngineEnded)?;
        let all_ended = async { while connections.join_next().await.is_some() {} };
        // What has not ended by then is aborted when the set is dropped.
        if tokio::time::timeout(self.shared.options.limits.close, all_ended).await.is_err() {
            tracing::warn!("dropping connections that did not close in time");
        }
        Ok(())
    }

    fn accept(
        &self,
        connections: &mut JoinSet<()>,
        stream: tokio::net::TcpStream,
        peer: SocketAddr,
        shutdown: &CancellationToken,
    ) {
        let Ok(place) = Arc::clone(&self.shared.places).try_acquire_owned() else {
            tracing::warn!(%peer, limit = self.shared.options.limits.connections, "too many connections");
            return;
        };
        // Batches are written whole, so waiting for more to send would only add delay.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let (broker, shutdown) = (self.clone(), shutdown.clone());
        connections.spawn(async move {
            let (read, write) = stream.into_split();
            broker.serve_connection(read, write, Peer::from(peer), shutdown).await;
            drop(place);
        });
    }

    /// Serves one connection whose bytes come from `read` and go to `write`, until either side closes it. While it is
    /// still in the handshake, `shutdown` ends it at once. Not counted against
    /// [`Limits::connections`](crate::Limits::connections).
    pub async fn serve_connection<R, W>(&self, read: R, write: W, peer: Peer, shutdown: CancellationToken)
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(Arc::clone(&self.shared), read, write, peer, shutdown).await;
    }

    /// Everything the broker holds at one moment, copied.
    ///
    /// # Errors
    /// [`BrokerError::EngineEnded`] after a defect.
    pub async fn snapshot(&self) -> Result<Snapshot, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.shared.engine.send(Input::Snapshot(reply)).await.map_err(|_| BrokerError::EngineEnded)?;
        answer.await.map_err(|_| BrokerError::EngineEnded)
    }
}
