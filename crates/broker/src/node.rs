//! The broker as a node: started from the configuration, shown over HTTP. It does not know AMQP, nor what a message
//! means.

mod metrics;
mod open_files;
mod pages;
mod rates;
mod settings;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use crosstalk_host::{Host, NodeSpec, Sockets, http::Role};
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::settings::Settings;
use crate::{Broker, BrokerError, Secure, TlsError};

/// What the broker is.
pub const SPEC: NodeSpec = NodeSpec {
    name: "broker",
    about: "keeps messages between those who publish and those who consume; any AMQP 0-9-1 client can connect",
    udp: false,
    amqp: true,
    lasting: true,
    repair: Some(repair),
    threads: Some(settings::threads),
    sections: &["http", "log", "topology", "broker"],
    examples: "\
A message broker for one machine: queues, exchanges, confirms, pages to watch them.

  broker                                  http://127.0.0.1:4405, amqp://127.0.0.1:4406
  broker --listen-amqp 127.0.0.1:5672     AMQP where RabbitMQ would listen
  broker --listen 127.0.0.1:8080          its pages elsewhere
  broker --data DIR                       durable queues elsewhere
  broker --set broker.users=ada:secret    who may log in instead of guest
  broker config                           every option: its meaning, bound and value in effect
  broker repair --data DIR                saves what is whole of a damaged store

Any AMQP 0-9-1 client can use it:  amqp://guest:guest@127.0.0.1:4406/%2f
(guest may log in from this machine only)

Watch a queue:    curl -s 'http://127.0.0.1:4405/queues?name=orders'
Who is there:     curl -s http://127.0.0.1:4405/connections
For Prometheus:   curl -s http://127.0.0.1:4405/metrics

Users, permissions, limits, TLS: the section [broker] of what `broker config` prints.

",
};

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
enum NodeError {
    #[error("the broker has no AMQP listener")]
    NoListener,
    #[error("broker.listen_tls: cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn repair(data: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error + Send + Sync>> {
    crate::repair(data, out)?;
    Ok(())
}

/// Starts the broker, and gives its pages.
///
/// # Errors
/// When an option is wrong, or a file or an address that it names cannot be used.
pub async fn roles(host: Host, sockets: Sockets) -> Result<Vec<Role>, Box<dyn Error + Send + Sync>> {
    outlive_file_size_limit();
    let settings: Settings = host.config().section("broker")?;
    let mut options = settings.options(host.data())?;
    options.limits.connections = open_files::connections(settings.connections_max);
    let plain = sockets.amqp.ok_or(NodeError::NoListener)?;
    let secure = secure_listener(&settings).await?;
    let broker = Broker::open(options).await?;
    let mut listeners = Vec::new();
    let (serving, stopping) = (broker.clone(), host.shutdown().clone());
    listeners.push(serve(&host, "the AMQP listener", async move { serving.serve(plain, stopping).await }));
    if let Some((listener, secure)) = secure {
        let (serving, stopping) = (broker.clone(), host.shutdown().clone());
        let serving = async move { serving.serve_secure(listener, secure, stopping).await };
        listeners.push(serve(&host, "the AMQP listener with TLS", serving));
    }
    watch_store(&host, &broker);
    close_after(&host, &broker, listeners);
    metrics::offer(&host, &broker, settings.metrics_queues_max);
    Ok(vec![pages::role(&host, broker)])
}

/// Where the system bounds the size of files (`ulimit -f`), lets writing beyond it fail, as on a full disk, instead of
/// ending the process. From the first listener on, the signal has no other effect.
fn outlive_file_size_limit() {
    let beyond_limit = SignalKind::from_raw(Signal::XFSZ.as_raw());
    if let Err(error) = signal(beyond_limit) {
        tracing::warn!(%error, "a file that reaches the system's bound on its size will end this process");
    }
}

/// The listener for TLS and what it needs, if one is wished for.
async fn secure_listener(settings: &Settings) -> Result<Option<(TcpListener, Secure)>, NodeError> {
    if settings.listen_tls.is_empty() {
        return Ok(None);
    }
    let secure = Secure::load(&settings.tls_certificate, &settings.tls_key)?;
    let address = settings.listen_tls.clone();
    let listener = TcpListener::bind(&address).await.map_err(|source| NodeError::Listen { address, source })?;
    Ok(Some((listener, secure)))
}

/// Serves until the node stops; readiness says when it cannot. What is returned ends with it.
fn serve(
    host: &Host,
    what: &str,
    serving: impl Future<Output = Result<(), BrokerError>> + Send + 'static,
) -> oneshot::Receiver<()> {
    let needed = host.readiness().need(what);
    needed.there();
    let (ended, end) = oneshot::channel();
    host.spawn_to_end(async move {
        if let Err(error) = serving.await {
            needed.missing(&error.to_string());
        }
        // Nobody need wait for it.
        let _ = ended.send(());
    });
    end
}

/// Lets readiness follow what the store says of itself.
fn watch_store(host: &Host, broker: &Broker) {
    let needed = host.readiness().need("room in the store");
    needed.there();
    let (mut trouble, stopping) = (broker.store_trouble(), host.shutdown().clone());
    host.spawn_to_end(async move {
        while let Some(Ok(())) = stopping.run_until_cancelled(trouble.changed()).await {
            match trouble.borrow_and_update().as_deref() {
                Some(reason) => needed.missing(reason),
                None => needed.there(),
            }
        }
    });
}

/// Ends the broker in order once no listener serves it any more.
fn close_after(host: &Host, broker: &Broker, listeners: Vec<oneshot::Receiver<()>>) {
    let broker = broker.clone();
    host.spawn_to_end(async move {
        for listener in listeners {
            // A listener that is gone has ended too.
            let _ = listener.await;
        }
        match broker.close().await {
            Ok(()) => tracing::info!("everything is stored"),
            Err(error) => tracing::error!(%error, "the broker did not end in order"),
        }
    });
}
