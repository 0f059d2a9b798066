//! TLS for a listener: certificate and key from files, the handshake, and errors that name the file.
//!
//! Without the feature `tls` nothing of it is built, and asking for it says so. Does not know AMQP. Clients are not
//! asked for certificates.

#[cfg(feature = "tls")]
mod rustls;

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Secure(#[cfg(feature = "tls")] rustls::Acceptor, #[cfg(not(feature = "tls"))] std::convert::Infallible);

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The program has no TLS in it.
    #[error("broker.listen_tls: this program was built without TLS; build it with --features crosstalk/tls")]
    NotBuilt,
    /// A file is not given.
    #[error("broker.listen_tls needs a file in broker.{option} too")]
    NoFile {
        /// The option that is to name it.
        option: &'static str,
    },
    /// A file cannot be used.
    #[error("broker.{option}: {}: {reason}", .file.display())]
    File {
        /// The option that names it.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The files do not belong together, or are of a kind that is not known.
    #[error("broker.tls_certificate: {} and broker.tls_key: {}: {reason}", .certificate.display(), .key.display())]
    Pair {
        /// The file with the certificates.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
}

impl Secure {
    /// TLS with the certificates and the private key in these files, both as PEM.
    ///
    /// # Errors
    /// When a file is missing, unreadable, or holds something else, or when the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        for (option, file) in [("tls_certificate", certificate), ("tls_key", key)] {
            if file.as_os_str().is_empty() {
                return Err(TlsError::NoFile { option });
            }
        }
        #[cfg(feature = "tls")]
        return rustls::Acceptor::load(certificate, key).map(Self);
        #[cfg(not(feature = "tls"))]
        Err(TlsError::NotBuilt)
    }

    /// Carries the TLS handshake out.
    #[cfg(feature = "tls")]
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<rustls::Halves> {
        self.0.accept(stream).await
    }

    /// There is no such listener without TLS.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "the same signature as with TLS")]
    pub(crate) async fn accept(
        &self,
        _: TcpStream,
    ) -> io::Result<(tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf)> {
        match self.0 {}
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").finish_non_exhaustive()
    }
}
