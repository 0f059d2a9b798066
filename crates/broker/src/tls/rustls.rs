//! TLS by rustls with the ring provider. Does not know where it is used.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::TlsError;

/// Both directions of an encrypted connection.
pub(crate) type Halves = (ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>);

/// Certificates and key, read and checked.
#[derive(Clone)]
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    pub(super) fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let fault = |option, file: &Path, reason: String| TlsError::File { option, file: file.to_owned(), reason };
        let read = |error: &dyn std::fmt::Display| fault("tls_certificate", certificate, error.to_string());
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(|error| read(&error))?;
        if chain.is_empty() {
            return Err(read(&"there is no certificate in it (-----BEGIN CERTIFICATE-----)"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fault("tls_key", key, error.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private));
        match config {
            Ok(config) => Ok(Self(TlsAcceptor::from(Arc::new(config)))),
            Err(error) => {
                let (certificate, key, reason) = (certificate.to_owned(), key.to_owned(), error.to_string());
                Err(TlsError::Pair { certificate, key, reason })
            }
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Halves> {
        self.0.accept(stream).await.map(split)
    }
}
