//! One attempt to connect to a broker: TCP, then AMQP's own opening. It does not know what follows a failure.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::AMQPUriTcpExt,
    uri::{AMQPUri, SASLMechanism},
};
use tokio::time::timeout;

use crate::error::{reason, too_late};

/// Largest frame asked for, in bytes. The client keeps room for 32 of them in each direction: a quarter of what brokers
/// offer saves 6 MiB for each connection, and only messages over 32 KiB take more frames for it.
const FRAME_MAX: u32 = 32 << 10;

/// A second handle on the socket of an attempt. The client's thread would wait for good for a peer that accepts
/// and stays silent; shutting the socket down ends it.
type Socket = Arc<Mutex<Option<TcpStream>>>;

/// Reads a broker's URL.
///
/// # Errors
/// When it is none; the text does not repeat it, as it may hold a password.
pub(crate) fn parse(url: &str, heartbeat_s: u16) -> Result<AMQPUri, String> {
    let form = "its URL is not of the form amqp://user:password@host:port/vhost";
    let mut uri: AMQPUri = url.parse().map_err(|_| form.to_owned())?;
    uri.query.heartbeat = Some(heartbeat_s);
    uri.query.frame_max = Some(FRAME_MAX);
    uri.query.auth_mechanism.get_or_insert(SASLMechanism::Plain);
    Ok(uri)
}

/// Connects, under the given name.
///
/// # Errors
/// Why not, in words; after `within` at the latest.
pub(crate) async fn connect(uri: AMQPUri, name: &str, within: Duration) -> Result<Connection, String> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| reason(&error))?;
    let socket = Socket::default();
    let opening = Connection::connector(
        uri,
        runtime,
        {
            let socket = Arc::clone(&socket);
            async move |uri: AMQPUri, runtime| {
                let stream = match timeout(within, uri.connect_async(&runtime)).await {
                    Ok(connected) => connected?,
                    Err(_) => return Err(std::io::Error::other(too_late(within)).into()),
                };
                if let AsyncTcpStream::Plain(plain) = &stream {
                    let second = plain.get_ref().as_fd().try_clone_to_owned()?;
                    *socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(second.into());
                }
                Ok(stream)
            }
        },
        properties,
    );
    match timeout(within, opening).await {
        Ok(opened) => opened.map_err(|error| reason(&error)),
        Err(_) => {
            let second = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Already gone is as good.
            let _ = second.map(|second| second.shutdown(Shutdown::Both));
            Err(too_late(within))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        let refused = parse("http://me:s3cret@host", 10).unwrap_err();
        assert!(!refused.contains("s3cret"));
        assert_eq!(parse("amqp://me:s3cret@host:1/%2f", 7).unwrap().query.heartbeat, Some(7));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_attempt_at_a_silent_peer_ends_and_closes_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = parse(&format!("amqp://{}", listener.local_addr().unwrap()), 10).unwrap();
        let attempt = tokio::spawn(async move { connect(uri, "test", Duration::from_millis(50)).await });
        let (mut peer, _) = listener.accept().await.unwrap();
        assert_eq!(attempt.await.unwrap().unwrap_err(), "no answer within 50ms");
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"AMQP\0\0\x09\x01");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_absent_peer_is_reported_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = parse(&format!("amqp://{}", listener.local_addr().unwrap()), 10).unwrap();
        drop(listener);
        let error = connect(uri, "test", Duration::from_secs(20)).await.unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }
}
