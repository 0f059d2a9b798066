//! One connection: handshake, then a reader and a writer until either side closes.
//!
//! Turns frames into commands for the engine and what the engine sends into frames. Knows the connection class
//! and heartbeats; what the other classes mean is the engine's business.

mod handshake;
mod reader;
mod sasl;
mod source;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{Client, Command, ConnectionId};
use crate::exception::Exception;
use crate::log_budget::Concern;
use crate::server::{Input, Newcomer, Outbox, Shared};
use handshake::{Handshake, Negotiated};
use reader::{Reader, ReaderEnd};
use source::FrameSource;
use writer::Writer;

/// Who connects, as far as the transport knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// For logs and snapshots: an address, usually.
    pub address: String,
    /// Whether it is on this machine, and so may use the default password.
    pub loopback: bool,
    /// Whether what it sends and gets is encrypted on the way.
    pub tls: bool,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.to_string(), loopback: address.ip().to_canonical().is_loopback(), tls: false }
    }
}

impl Peer {
    /// The address without the port: connections from one host share it.
    pub(crate) fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or(&self.address, |(host, _)| host)
    }
}

/// Why a connection ended other than by an orderly close.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("transport failed: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Exception(#[from] Exception),
    #[error("the client speaks another protocol: {0:?}")]
    WrongProtocol([u8; 8]),
    #[error("the client hung up")]
    HungUp,
    #[error("the handshake took longer than allowed")]
    HandshakeTimeout,
    #[error("the client stopped in the middle of the handshake")]
    SilentInHandshake,
    #[error("all places are taken, and this one went to a newcomer before the login was over")]
    Displaced,
    #[error("login failed, and the client could not be told")]
    LoginRefusedSilently,
    #[error("the client closed during the handshake")]
    ClosedInHandshake,
    #[error("nothing came for two heartbeat intervals")]
    MissedHeartbeats,
    #[error("the broker is shutting down")]
    Shutdown,
}

/// Tells the engine that a connection is gone, whatever way this scope is left.
struct Registration {
    shared: Arc<Shared>,
    connection: ConnectionId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let farewell = Input::Commands(vec![Command::Disconnect { connection: self.connection }]);
        // The queue may be full, and a destructor cannot wait; a task can. Without a runtime there is no engine either.
        if let Err(tokio::sync::mpsc::error::TrySendError::Full(farewell)) = self.shared.engine.try_send(farewell)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let engine = self.shared.engine.clone();
            runtime.spawn(async move { drop(engine.send(farewell).await) });
        }
    }
}

/// Serves one connection to its end; faults are logged. `newcomer` is its place, if places are counted.
pub(crate) async fn serve<R, W>(
    shared: Arc<Shared>,
    read: R,
    mut write: W,
    peer: Peer,
    newcomer: Option<Newcomer>,
    shutdown: CancellationToken,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut source = FrameSource::new(read, shared.options.limits.frame_max, Arc::clone(&shared.traffic));
    let handshake = Handshake { shared: &shared, peer: &peer, source: &mut source, sink: &mut write };
    let displaced = newcomer.as_ref().map_or_else(CancellationToken::new, |newcomer| newcomer.displaced().clone());
    let negotiated = tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(ConnectionError::Shutdown),
        () = displaced.cancelled() => Err(ConnectionError::Displaced),
        negotiated = handshake.run() => negotiated,
    };
    let settled = match newcomer.map(Newcomer::settle) {
        Some(None) => Err(ConnectionError::Displaced),
        settled => Ok(settled),
    };
    match settled.and_then(|place| Ok((place, negotiated?))) {
        Ok((_place, negotiated)) => {
            shared.traffic.opened.add(1);
            let Client { name, user, vhost, .. } = negotiated.client.clone();
            if shared.log_lines.allow(peer.host(), Concern::Presence) {
                tracing::info!(peer = peer.address, name, user, vhost, "connected");
            }
            let end = exchange(Arc::clone(&shared), source, write, negotiated).await;
            if shared.log_lines.allow(peer.host(), Concern::Presence) {
                let reason = match end {
                    Ok(Some(reason)) => format!("closed by the client: {reason}"),
                    Ok(None) => "closed by the broker".to_owned(),
                    Err(error) => error.to_string(),
                };
                tracing::info!(peer = peer.address, name, user, vhost, reason, "disconnected");
            }
        }
        // Port checks and load balancers connect and say nothing.
        Err(ConnectionError::HungUp) => tracing::debug!(peer = peer.address, "hung up in the handshake"),
        Err(error) if shared.log_lines.allow(peer.host(), Concern::Refusal) => {
            // As a text, which is quoted and escaped: clients choose parts of it.
            tracing::info!(peer = peer.address, reason = error.to_string(), "connection refused");
        }
        Err(_) => {}
    }
}

/// After the handshake: reads and writes until the end. An orderly end has the client's reason, if it was its wish.
async fn exchange<R, W>(
    shared: Arc<Shared>,
    source: FrameSource<R>,
    write: W,
    negotiated: Negotiated,
) -> Result<Option<String>, ConnectionError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let connection = shared.next_connection();
    let (outbox, inbox, gauge) = Outbox::new();
    let input = Input::Connect { connection, client: negotiated.client, outbox };
    shared.engine.send(input).await.map_err(|_| ConnectionError::Shutdown)?;
    let _place = negotiated.place;
    let registration = Registration { shared: Arc::clone(&shared), connection };
    let limits = &shared.options.limits;
    let (frame_max, heartbeat) = (negotiated.frame_max, negotiated.heartbeat);
    let writer = Writer {
        sink: write,
        inbox,
        engine: shared.engine.clone(),
        traffic: Arc::clone(&shared.traffic),
        octets: Arc::clone(source.octets()),
        encoded: 0,
        connection,
        frame_max,
        heartbeat,
        stall: limits.stall,
        // Fine enough for the engine to resume at half of the bound even if the last part is never reported.
        report_bytes: limits.delivery_bytes / 4,
    };
    let mut writer = AbortOnDropHandle::new(tokio::spawn(writer.run()));
    let reader = Reader::new(Arc::clone(&shared), source, connection, gauge, heartbeat);
    // The writer ends first when the client no longer takes anything, or after `close-ok`; it hands the transport
    // back so that it stays open until the reader is done too.
    let mut running = std::pin::pin!(reader.run());
    let (end, sink) = tokio::select! {
        end = &mut running => (end, None),
        written = &mut writer => match written {
            Ok(Ok(sink)) => {
                let end = tokio::time::timeout(limits.close, running).await;
                (end.unwrap_or(ReaderEnd::Closing(None)), Some(sink))
            }
            Ok(Err(error)) => (ReaderEnd::Gone(error.into()), None),
            Err(_) => (ReaderEnd::Gone(ConnectionError::Shutdown), None),
        },
    };
    let outcome = match end {
        ReaderEnd::Gone(error) => Err(error),
        ReaderEnd::Closing(reason) => {
            if sink.is_none() {
                // What the engine has sent is still to be written; a client that takes nothing cannot hold this up.
                drop(tokio::time::timeout(limits.close, &mut writer).await);
            }
            Ok(reason)
        }
    };
    drop(registration);
    outcome
}
