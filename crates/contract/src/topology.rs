//! Which node lives at which address, and which brokers there are. Only addresses: what nodes do with each
//! other stands elsewhere. A node sends to nobody who is not in its topology.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most nodes and most brokers in a topology: readiness asks each of them every second.
pub const MEMBERS_MAX: usize = 64;

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeAddress>,
    /// AMQP brokers in the order in which runs prefer them.
    #[serde(default)]
    pub brokers: Vec<BrokerAddress>,
}

/// Where one node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// `host:port` of its HTTP server, as the other nodes reach it.
    pub http: String,
    /// `host:port` of its UDP socket, for a node that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<String>,
    /// `host:port` of its HTTP server as someone outside the cluster's network reaches it, when that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
}

/// Where one broker is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerAddress {
    /// What runs call it, such as `embedded` or `rabbitmq`.
    pub name: String,
    /// `amqp://user:password@host:port/vhost`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub url: String,
}

impl std::fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.shown_url())
    }
}

impl BrokerAddress {
    /// The URL without its password, for logs and pages.
    #[must_use]
    pub fn shown_url(&self) -> String {
        match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
            _ => self.url.clone(),
        }
    }
}

/// A topology that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// An address that is not `host:port`.
    #[error("{what}: expected host:port such as 127.0.0.1:4401, got {got:?}")]
    Address {
        /// Whose address.
        what: String,
        /// What stood there.
        got: String,
    },
    /// More members than allowed.
    #[error("{0} nodes or brokers, at most {MEMBERS_MAX} are allowed")]
    TooMany(usize),
}

impl Topology {
    /// The same without passwords, for everyone to read.
    #[must_use]
    pub fn public(&self) -> Self {
        let hidden = |broker: &BrokerAddress| BrokerAddress { name: broker.name.clone(), url: broker.shown_url() };
        Self { nodes: self.nodes.clone(), brokers: self.brokers.iter().map(hidden).collect() }
    }

    /// Checks every address for its form.
    ///
    /// # Errors
    /// Names the first member whose address is not `host:port`.
    pub fn check(&self) -> Result<(), TopologyError> {
        let size = self.nodes.len().max(self.brokers.len());
        if size > MEMBERS_MAX {
            return Err(TopologyError::TooMany(size));
        }
        for (name, node) in &self.nodes {
            for (what, address) in
                [("http", Some(&node.http)), ("udp", node.udp.as_ref()), ("published", node.published.as_ref())]
            {
                if let Some(address) = address {
                    check_address(&format!("nodes.{name}.{what}"), address)?;
                }
            }
        }
        Ok(())
    }
}

fn check_address(what: &str, address: &str) -> Result<(), TopologyError> {
    let whole = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok());
    if whole { Ok(()) } else { Err(TopologyError::Address { what: what.to_owned(), got: address.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let broker = BrokerAddress { name: "rabbitmq".into(), url: "amqp://me:s3cret@rabbitmq:5672/%2f".into() };
        assert_eq!(broker.shown_url(), "amqp://rabbitmq:5672/%2f");
        assert!(!format!("{broker:?}").contains("s3cret"));
    }

    #[test]
    fn addresses_must_be_host_and_port() {
        let with = |http: &str| Topology {
            nodes: [("producer".to_owned(), NodeAddress { http: http.into(), ..Default::default() })].into(),
            brokers: vec![],
        };
        assert!(with("127.0.0.1:4401").check().is_ok());
        assert!(with("[::1]:80").check().is_ok());
        for bad in ["", "producer", "http://producer:80", ":80", "producer:80000"] {
            assert!(with(bad).check().is_err(), "{bad:?}");
        }
    }
}
