//! AMQP over TLS, with a certificate made for the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crosstalk_broker::{Broker, Options, Secure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::harness::soon;
use super::raw::{HEADER, frame, start_ok, tune_ok};

/// Files of one test, gone when it ends.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("crosstalk-tls-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A certificate for `localhost` with its key, and the certificate once more for a client to trust.
    fn pair(&self, name: &str) -> (PathBuf, PathBuf, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = self.write(&format!("{name}.crt"), &made.cert.pem());
        let key = self.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (certificate, key, made.cert.der().clone())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn client(trusted: CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_logs_in_and_plain_text_gets_nothing() {
    let files = Files::new("login");
    let (certificate, key, trusted) = files.pair("broker");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (broker, shutdown) = (Broker::open(Options::default()).await.unwrap(), CancellationToken::new());
    let secure = Secure::load(&certificate, &key).unwrap();
    let serving = tokio::spawn({
        let (broker, shutdown) = (broker.clone(), shutdown.clone());
        async move { broker.serve_secure(listener, secure, shutdown).await }
    });
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"AMQP\x00\x00\x09\x01AMQP\x00\x00\x09\x01").await.unwrap();
    let mut said = Vec::new();
    // A reset is an end too.
    drop(soon("the end", plain.read_to_end(&mut said)).await);
    assert!(!said.starts_with(HEADER) && said.first() != Some(&1), "spoke AMQP in plain text");

    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = soon("TLS", client(trusted).connect(name, stream)).await.unwrap();
    stream.write_all(HEADER).await.unwrap();
    soon("connection.start", read_method(&mut stream, 10)).await;
    stream.write_all(&start_ok(&[0; 4])).await.unwrap();
    soon("connection.tune", read_method(&mut stream, 30)).await;
    stream.write_all(&tune_ok(10, 8192)).await.unwrap();
    stream.write_all(&frame(1, 0, b"\x00\x0a\x00\x28\x01/\x00\x00")).await.unwrap();
    soon("connection.open-ok", read_method(&mut stream, 41)).await;
    let seen = soon("the connection", async {
        loop {
            if let Some(connection) = broker.snapshot().await.unwrap().connections.pop() {
                return connection;
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(seen.await.tls);
    drop(stream);
    shutdown.cancel();
    soon("the end of serving", serving).await.unwrap().unwrap();
}

/// Reads one frame, which must hold this method of the connection class.
async fn read_method(stream: &mut (impl AsyncReadExt + Unpin), method: u8) {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.unwrap();
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let mut payload = vec![0; size + 1];
    stream.read_exact(&mut payload).await.unwrap();
    assert_eq!(payload[..4], [0, 10, 0, method]);
}

#[test]
fn what_is_wrong_with_the_files_is_said_with_their_names() {
    let files = Files::new("files");
    let (certificate, key, _) = files.pair("a");
    let (_, other_key, _) = files.pair("b");
    let empty = files.write("empty.pem", "nothing of the kind\n");
    let error = |certificate: &Path, key: &Path| Secure::load(certificate, key).unwrap_err().to_string();
    let nowhere = Path::new("/nowhere/broker.crt");
    for (message, option, file) in [
        (error(nowhere, &key), "tls_certificate", nowhere),
        (error(&empty, &key), "tls_certificate", &*empty),
        (error(&certificate, &empty), "tls_key", &*empty),
        (error(&certificate, &other_key), "tls_key", &*other_key),
    ] {
        assert!(message.contains(&format!("broker.{option}: {}", file.display())), "{message}");
    }
    assert_eq!(error(&certificate, Path::new("")), "broker.listen_tls needs a file in broker.tls_key too");
}
