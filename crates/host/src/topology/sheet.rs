//! A topology as its TOML document has it, and the way from there to the contract's form. It does not know where
//! the document came from.

use std::collections::BTreeMap;

use crosstalk_contract::topology::{BrokerAddress, NodeAddress, Topology};
use serde::Deserialize;
use toml::Spanned;

use super::{TopologyLoadError, address};
use crate::config::text::{Document, cut};

/// Longest name of a node or broker: names stand in headers, metric labels and narrow tables.
const NAME_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    nodes: BTreeMap<Spanned<String>, NodeSheet>,
    #[serde(default)]
    brokers: Vec<BrokerSheet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeSheet {
    http: Spanned<String>,
    udp: Option<Spanned<String>>,
    published: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokerSheet {
    name: Spanned<String>,
    url: Spanned<String>,
}

/// Reads the whole document.
pub(super) fn read(document: &Document, port_base: u16) -> Result<Topology, TopologyLoadError> {
    let sheet: Sheet = toml::from_str(&document.text).map_err(|error| TopologyLoadError::Form {
        place: document.place(error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    let reader = Reader { document, port_base };
    let mut topology = Topology::default();
    for (name, node) in &sheet.nodes {
        topology.nodes.insert(reader.name("nodes", name)?, reader.node(name.get_ref(), node)?);
    }
    for broker in &sheet.brokers {
        let name = reader.name("brokers", &broker.name)?;
        if topology.brokers.iter().any(|other| other.name == name) {
            let reason = "expected a name of its own, an earlier broker has this one".to_owned();
            return Err(reader.fail(&broker.name, format!("brokers.{name}.name"), reason));
        }
        let what = format!("brokers.{name}.url");
        let url = address::broker(broker.url.get_ref(), port_base);
        let url = url.map_err(|reason| reader.fail(&broker.url, what, reason))?;
        topology.brokers.push(BrokerAddress { name, url });
    }
    topology.check().map_err(|source| TopologyLoadError::Whole { path: document.path().to_owned(), source })?;
    Ok(topology)
}

struct Reader<'a> {
    document: &'a Document,
    port_base: u16,
}

impl Reader<'_> {
    fn node(&self, name: &str, node: &NodeSheet) -> Result<NodeAddress, TopologyLoadError> {
        let address = |what: &str, text: &Spanned<String>| {
            address::node(text.get_ref(), self.port_base)
                .map_err(|reason| self.fail(text, format!("nodes.{name}.{what}"), reason))
        };
        Ok(NodeAddress {
            http: address("http", &node.http)?,
            udp: node.udp.as_ref().map(|text| address("udp", text)).transpose()?,
            published: node.published.as_ref().map(|text| address("published", text)).transpose()?,
        })
    }

    fn name(&self, kind: &str, name: &Spanned<String>) -> Result<String, TopologyLoadError> {
        let text = name.get_ref();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(text.clone());
        }
        let reason = format!("expected a name of 1 .. {NAME_MAX} characters a-z, 0-9 or -, got {:?}", cut(text));
        Err(self.fail(name, kind.to_owned(), reason))
    }

    fn fail(&self, at: &Spanned<String>, what: String, reason: String) -> TopologyLoadError {
        TopologyLoadError::Member { place: self.document.place(at.span().start), what, reason }
    }
}
