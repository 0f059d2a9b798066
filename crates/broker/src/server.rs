//! The broker as its owner sees it: a handle, a listener that is served, a shutdown.
//!
//! Does not know the protocol (`connection`) or what is decided with it (`engine`).

mod driver;
mod outbox;
mod places;
mod shared_sum;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use driver::Input;
pub(crate) use outbox::{Outbox, OutboxGauge, OutboxReceiver};
pub(crate) use places::{Newcomer, UserPlace};
pub(crate) use shared_sum::{Share, SharedSum};
pub(crate) use traffic::Traffic;
pub use traffic::TrafficTotals;

use crate::connection::{self, Peer};
use crate::engine::{Command, ConnectionId, QueueSample, Snapshot};
use crate::log_budget::{Concern, HostBudgets};
use crate::options::Options;
use crate::store::{StoreError, StoreMetrics};
use crate::tls::Secure;
use driver::Driver;
use places::Places;

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
    /// What is stored cannot be read, or could not be written to its end.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that owns all state has ended; only a defect can cause it.
    #[error("the broker's engine has ended")]
    EngineEnded,
}

/// What all connections of a broker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) engine: mpsc::Sender<Input>,
    /// Whether publishers are to wait.
    pub(crate) alarm: watch::Receiver<bool>,
    store: Option<Arc<StoreMetrics>>,
    store_trouble: watch::Receiver<Option<Arc<str>>>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) places: Arc<Places>,
    /// For lines about those who connect.
    pub(crate) log_lines: HostBudgets,
    /// Octets of contents that are not whole, over all connections.
    pub(crate) incomplete: SharedSum,
    last_connection: AtomicU64,
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
    /// Starts a broker with no listener; with [`Options::data`], as soon as what is stored there has been read. Must be
    /// called inside a Tokio runtime, which then runs its engine.
    ///
    /// # Errors
    /// [`BrokerError::Store`] if another broker uses the directory, or what is there cannot be read.
    pub async fn open(options: Options) -> Result<Self, BrokerError> {
        let (engine, inputs) = mpsc::channel(ENGINE_QUEUE_BATCHES);
        let (hold_publishers, alarm) = watch::channel(false);
        let (tell_trouble, store_trouble) = watch::channel(None);
        let (report, reports) = mpsc::unbounded_channel();
        let mut driver = Driver::new(&options, hold_publishers, tell_trouble);
        let store = match &options.data {
            Some(directory) => Some(driver.open_store(directory.clone(), options.store, report).await?),
            None => None,
        };
        tokio::spawn(driver.run(inputs, reports));
        let places = Arc::new(Places::new(options.limits.connections));
        let shared = Shared {
            options,
            engine,
            alarm,
            store,
            store_trouble,
            traffic: Arc::default(),
            places,
            log_lines: HostBudgets::new(),
            incomplete: SharedSum::default(),
            last_connection: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Ends the broker in order, once nothing is served any more: connections that are left are closed, and all that
    /// is to be stored is written, so that the next start knows exactly what was delivered.
    ///
    /// # Errors
    /// [`BrokerError::Store`] if that cannot be written; [`BrokerError::EngineEnded`] after a defect.
    pub async fn close(&self) -> Result<(), BrokerError> {
        Ok(self.ask(Input::Close).await??)
    }

    /// What the store counts; `None` when everything is in memory.
    pub fn store_metrics(&self) -> Option<&StoreMetrics> {
        self.shared.store.as_deref()
    }

    /// Why the store takes no more messages, as it changes; `None` while it does.
    pub fn store_trouble(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.store_trouble.clone()
    }

    /// Serves AMQP on a bound listener until `shutdown` is cancelled. Then all connections of this broker, those of
    /// other listeners too, are closed with 320 CONNECTION_FORCED, and what has not ended after
    /// [`Limits::close`](crate::Limits::close) is dropped.
    ///
    /// # Errors
    /// [`BrokerError::Listener`] if the listener is not usable, [`BrokerError::EngineEnded`] after a defect.
    /// Faults of single connections are logged and end only them.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), BrokerError> {
        self.serve_on(listener, None, shutdown).await
    }

    /// Like [`Self::serve`], over TLS.
    ///
    /// # Errors
    /// As for [`Self::serve`].
    pub async fn serve_secure(
        &self,
        listener: TcpListener,
        secure: Secure,
        shutdown: CancellationToken,
    ) -> Result<(), BrokerError> {
        self.serve_on(listener, Some(secure), shutdown).await
    }

    async fn serve_on(
        &self,
        listener: TcpListener,
        secure: Option<Secure>,
        shutdown: CancellationToken,
    ) -> Result<(), BrokerError> {
        let address = listener.local_addr().map_err(BrokerError::Listener)?;
        tracing::info!(%address, tls = secure.is_some(), "listening for AMQP");
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.shared.engine.closed() => return Err(BrokerError::EngineEnded),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.accept(&mut connections, stream, secure.clone(), peer, &shutdown),
                    Err(error) => {
                        if self.shared.log_lines.allow("the listener", Concern::Refusal) {
                            tracing::warn!(%error, "cannot accept a connection");
                        }
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
        stream: TcpStream,
        secure: Option<Secure>,
        peer: SocketAddr,
        shutdown: &CancellationToken,
    ) {
        let (shared, peer) = (Arc::clone(&self.shared), Peer { tls: secure.is_some(), ..Peer::from(peer) });
        let Some(newcomer) = shared.places.enter() else {
            shared.traffic.refused.add(1);
            if shared.log_lines.allow(peer.host(), Concern::Refusal) {
                let limit = shared.options.limits.connections;
                tracing::warn!(peer = peer.address, limit, "connection refused: as many are open as may be");
            }
            return;
        };
        shared.traffic.displaced.add(newcomer.displaces.into());
        // Batches are written whole, so waiting for more to send would only add delay.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(peer = peer.address, %error, "cannot set TCP_NODELAY");
        }
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            let Some(secure) = secure else {
                let (read, write) = stream.into_split();
                return connection::serve(shared, read, write, peer, Some(newcomer), shutdown).await;
            };
            let encrypted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = newcomer.displaced().cancelled() => return,
                encrypted = tokio::time::timeout(shared.options.limits.handshake, secure.accept(stream)) => encrypted,
            };
            let encrypted = encrypted.unwrap_or_else(|elapsed| Err(elapsed.into()));
            match encrypted {
                Ok((read, write)) => connection::serve(shared, read, write, peer, Some(newcomer), shutdown).await,
                Err(error) if shared.log_lines.allow(peer.host(), Concern::Refusal) => {
                    tracing::info!(peer = peer.address, reason = %error, "connection refused: no TLS");
                }
                Err(_) => {}
            }
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
        connection::serve(Arc::clone(&self.shared), read, write, peer, None, shutdown).await;
    }

    /// Everything the broker holds at one moment, copied.
    ///
    /// # Errors
    /// [`BrokerError::EngineEnded`] after a defect.
    pub async fn snapshot(&self) -> Result<Snapshot, BrokerError> {
        self.ask(Input::Snapshot).await
    }

    /// What each queue did so far, ascending by queue.
    pub(crate) async fn queue_samples(&self) -> Result<Vec<QueueSample>, BrokerError> {
        self.ask(Input::QueueSamples).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.shared.engine.send(question(reply)).await.map_err(|_| BrokerError::EngineEnded)?;
        answer.await.map_err(|_| BrokerError::EngineEnded)
    }

    /// What went over the wire since the start.
    #[must_use]
    pub fn traffic(&self) -> TrafficTotals {
        self.shared.traffic.totals()
    }
}
