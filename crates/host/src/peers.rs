//! The other nodes of the topology: their addresses, an HTTP client that reaches nobody else, and a watch on
//! whether they are there. It does not know what is asked of them.

use std::{collections::BTreeMap, time::Duration};

use crosstalk_contract::topology::Topology;
use serde::Deserialize;

use crate::{Host, config::Span};

/// First pause between two looks at a peer that is not there; doubles up to `peers.probe_interval`.
const PROBE_FIRST: Duration = Duration::from_millis(20);

/// How patiently peers are asked (`[peers]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersOptions {
    /// Longest time for a connection to be made.
    pub connect_timeout: Span,
    /// Pause between two looks at a peer.
    pub probe_interval: Span,
    /// Longest time for a peer to say that it is there.
    pub probe_timeout: Span,
}

/// The peers of one node.
#[derive(Debug, Clone)]
pub struct Peers {
    client: reqwest::Client,
    uploads: reqwest::Client,
    urls: BTreeMap<String, String>,
    options: PeersOptions,
}

/// A peer that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Not in the topology, so nothing is sent to it.
    #[error("{name:?} is not in this node's topology, so nothing is sent to it; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Who could have been.
        known: String,
    },
    /// It did not answer.
    #[error("{peer} did not answer: {reason}")]
    Unreachable {
        /// Who.
        peer: String,
        /// Why, in one line.
        reason: String,
        /// The client's error.
        #[source]
        source: reqwest::Error,
    },
    /// It answered with an error.
    #[error("{peer} answered {status}: {detail}")]
    Refused {
        /// Who.
        peer: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// The client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

impl Peers {
    /// The peers in `topology`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(topology: &Topology, options: PeersOptions) -> Result<Self, PeerError> {
        let client = || {
            reqwest::Client::builder()
                .connect_timeout(options.connect_timeout.0)
                .redirect(reqwest::redirect::Policy::none()) // a redirect could lead out of the topology
                .no_proxy()
                .tcp_nodelay(true)
        };
        let uploads = client().pool_max_idle_per_host(0).build().map_err(PeerError::Client)?;
        let client = client().build().map_err(PeerError::Client)?;
        let urls = topology.nodes.iter().map(|(name, node)| (name.clone(), format!("http://{}", node.http))).collect();
        Ok(Self { client, uploads, urls, options })
    }

    /// The client; only for URLs that begin with what [`Peers::url`] gave.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// A client whose connections are used once, for uploads that go on behind an early answer: the other client
    /// would take the answer for the end, and give the connection to a request that then waits behind the upload.
    #[must_use]
    pub fn upload_client(&self) -> &reqwest::Client {
        &self.uploads
    }

    /// `http://host:port` of a node.
    ///
    /// # Errors
    /// When it is not in the topology.
    pub fn url(&self, name: &str) -> Result<&str, PeerError> {
        self.urls.get(name).map(String::as_str).ok_or_else(|| PeerError::Unknown {
            name: name.to_owned(),
            known: self.urls.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Sends `request` and reads the answer as JSON.
    ///
    /// # Errors
    /// When `peer` does not answer, or answers with an error or with something else than a `T`.
    pub async fn json<T: serde::de::DeserializeOwned>(
        peer: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<T, PeerError> {
        let response = Self::checked(peer, request).await?;
        response.json().await.map_err(|source| unreachable_peer(peer, source))
    }

    /// Sends `request`; an error status becomes an error with what the peer said.
    ///
    /// # Errors
    /// When `peer` does not answer, or answers with an error.
    pub async fn checked(peer: &str, request: reqwest::RequestBuilder) -> Result<reqwest::Response, PeerError> {
        let response = request.send().await.map_err(|source| unreachable_peer(peer, source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let problem: Option<crosstalk_contract::problem::Problem> = serde_json::from_str(&text).ok();
        let detail = problem.map_or_else(|| text.chars().take(200).collect(), |problem| problem.detail);
        Err(PeerError::Refused { peer: peer.to_owned(), status: status.as_u16(), detail })
    }

    /// Keeps looking whether `name` is there, and tells the host's readiness.
    pub fn need(host: &Host, name: &'static str) {
        let needed = host.readiness().need(name);
        let peers = host.peers().clone();
        host.spawn(async move {
            let Ok(url) = peers.url(name).map(|url| format!("{url}/healthz")) else {
                return needed.missing("it is not in the topology");
            };
            let mut pause = PROBE_FIRST;
            loop {
                let asked = peers.client.get(&url).timeout(peers.options.probe_timeout.0);
                match Self::checked(name, asked).await {
                    Ok(_) => {
                        needed.there();
                        pause = peers.options.probe_interval.0;
                    }
                    Err(error) => {
                        // A node that starts with its peers needs a moment; only then is it worth a line.
                        if pause >= peers.options.probe_interval.0 {
                            needed.missing(&error.to_string());
                        }
                        pause = (pause * 2).min(peers.options.probe_interval.0);
                    }
                }
                tokio::time::sleep(pause).await;
            }
        });
    }
}

/// The error with the reason behind reqwest's general words.
#[must_use]
pub fn unreachable_peer(peer: &str, source: reqwest::Error) -> PeerError {
    PeerError::Unreachable { peer: peer.to_owned(), reason: reason(&source), source }
}

/// The reason behind an error of the HTTP client, in one line.
#[must_use]
pub fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
