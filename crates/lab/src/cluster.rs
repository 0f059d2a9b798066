//! Finds the nodes of a cluster from the address of one of them, and what they can do. It does not start them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crosstalk_contract::{
    describe::{NodeDescription, RoleDescription},
    topology::{BrokerAddress, NodeAddress},
};
use crosstalk_host::peers::{PeerError, Peers};
use futures_util::future::join_all;

use crate::LabError;

/// Longest time for a node to say what it is.
const DESCRIBE_MAX: Duration = Duration::from_secs(3);
/// Pause between two looks at a cluster that is not ready yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    client: reqwest::Client,
    nodes: Vec<Node>,
    brokers: Vec<BrokerAddress>,
}

/// One node, as reached from here.
#[derive(Debug, Clone)]
pub struct Node {
    /// `http://host:port`.
    pub url: String,
    /// What it says about itself, with addresses as reached from here.
    pub description: NodeDescription,
}

impl Cluster {
    /// Asks the node at `url` for its topology, and every node in it for what it can do. Nodes that do not
    /// answer are left out.
    ///
    /// # Errors
    /// When the node at `url` does not answer.
    pub async fn discover(url: &str) -> Result<Self, LabError> {
        let url = url.trim_end_matches('/');
        let authority = url.strip_prefix("http://").filter(|rest| !rest.is_empty() && !rest.contains('/'));
        let authority = authority.ok_or_else(|| LabError::Url(url.to_owned()))?;
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(PeerError::Client)?;
        let first = describe(&client, url).await?;
        let inside = first.topology.nodes.get(&first.node).is_some_and(|node| node.http == authority);
        let address = |node: &NodeAddress| match &node.published {
            Some(published) if !inside => format!("http://{published}"),
            _ => format!("http://{}", node.http),
        };
        let urls: BTreeMap<_, _> =
            first.topology.nodes.iter().map(|(name, node)| (name.clone(), address(node))).collect();
        let asked = join_all(urls.values().map(|url| describe(&client, url))).await;
        let mut nodes: Vec<Node> = urls
            .into_values()
            .zip(asked)
            .filter_map(|(url, description)| Some(Node { url, description: description.ok()? }))
            .collect();
        // Whoever starts most paradigms leads the tour.
        let starts = |node: &Node| node.description.roles.iter().filter(|role| role.starts.is_some()).count();
        nodes.sort_by_key(|node| std::cmp::Reverse(starts(node)));
        Ok(Self { client, nodes, brokers: first.topology.brokers })
    }

    /// The HTTP client; for addresses of this cluster.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The nodes that answered, those that start most paradigms first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The brokers of the topology.
    #[must_use]
    pub fn brokers(&self) -> &[BrokerAddress] {
        &self.brokers
    }

    /// Every role that starts runs, with its node and path.
    pub fn starting(&self) -> impl Iterator<Item = (&Node, &RoleDescription, &str)> {
        self.nodes.iter().flat_map(|node| {
            node.description.roles.iter().filter_map(move |role| Some((node, role, role.starts.as_deref()?)))
        })
    }

    /// Waits until every node has all it needs.
    ///
    /// # Errors
    /// When that is not so within `patience`: who is not ready, and why.
    pub async fn ready(&self, patience: Duration) -> Result<(), LabError> {
        let began = Instant::now();
        loop {
            let asked = join_all(self.nodes.iter().map(|node| {
                let name = &node.description.node;
                Peers::checked(name, self.client.get(format!("{}/readyz", node.url)).timeout(DESCRIBE_MAX))
            }))
            .await;
            let missing: Vec<_> = asked.into_iter().filter_map(|answer| answer.err().map(|e| e.to_string())).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if began.elapsed() > patience {
                return Err(LabError::NotReady { after: patience, missing: missing.join("; ") });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn describe(client: &reqwest::Client, url: &str) -> Result<NodeDescription, PeerError> {
    let request = client.get(format!("{url}/")).header("accept", "application/json").timeout(DESCRIBE_MAX);
    Peers::json(url, request).await
}
