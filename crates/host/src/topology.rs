//! Topologies from where people keep them: built in under a name, or in a TOML file; with ports counted from a
//! base, so that two clusters fit on one machine. What a topology is stands in the contract; who uses which
//! node is not known here, and nothing is connected to.

mod address;
mod sheet;
#[cfg(test)]
mod tests;

use std::path::Path;

use crosstalk_contract::topology::{Topology, TopologyError};

use crate::config::{
    FileError, Place,
    text::{Document, cut},
};

/// The port from which `+1` counts unless another base is given.
pub const PORT_BASE_DEFAULT: u16 = 4400;

/// The topologies compiled in: name, path in the source tree, text.
const BUILT_IN: [(&str, &str, &str); 2] = [
    ("local", "config/topology/local.toml", include_str!("../../../config/topology/local.toml")),
    ("compose", "config/topology/compose.toml", include_str!("../../../config/topology/compose.toml")),
];

/// A topology that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TopologyLoadError {
    /// Neither a built-in name nor what a path looks like.
    #[error("unknown topology {got:?}: expected {built_in}, or the path of a .toml file")]
    UnknownName {
        /// The name, cut to 64 characters.
        got: String,
        /// The names there are.
        built_in: String,
    },
    /// The file cannot be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no TOML, or no topology.
    #[error("{place}: {reason}")]
    Form {
        /// Where.
        place: Place,
        /// What was expected.
        reason: String,
    },
    /// A name or an address in the file is malformed.
    #[error("{place}: {what}: {reason}")]
    Member {
        /// Where.
        place: Place,
        /// Whose, such as `nodes.producer.http`.
        what: String,
        /// What was expected, and what stood there.
        reason: String,
    },
    /// The whole does not hold together.
    #[error("{path}: {source}")]
    Whole {
        /// The file.
        path: String,
        /// What is wrong.
        source: TopologyError,
    },
    /// An entry of `topology.published` that is not `node=host:port`.
    #[error("topology.published: {got:?}: expected node=host:port, such as producer=127.0.0.1:8081")]
    Published {
        /// The entry, cut to 64 characters.
        got: String,
    },
    /// An entry of `topology.published` for a node that is not in the topology.
    #[error("topology.published: {got:?}: unknown node, expected one of {nodes}")]
    UnknownNode {
        /// The entry, cut to 64 characters.
        got: String,
        /// The nodes there are.
        nodes: String,
    },
}

/// The topology of this built-in name (`local`, `compose`) or in this file. A port written `+1` becomes
/// `port_base + 1`, or 0, "any free port", when the base is 0.
///
/// # Errors
/// When there is no such topology, or it is malformed.
pub fn load(name_or_path: &str, port_base: u16) -> Result<Topology, TopologyLoadError> {
    if let Some((_, path, text)) = BUILT_IN.iter().find(|(name, ..)| *name == name_or_path) {
        return sheet::read(&Document::new(path, (*text).to_owned()), port_base);
    }
    // A mistyped name should not be answered with "no such file".
    if !name_or_path.contains(['/', '\\']) && !name_or_path.ends_with(".toml") {
        let built_in = BUILT_IN.map(|(name, ..)| name).join(", ");
        return Err(TopologyLoadError::UnknownName { got: cut(name_or_path), built_in });
    }
    sheet::read(&Document::open(Path::new(name_or_path))?, port_base)
}

/// Sets under which addresses nodes are reached from outside of their network, each written `node=host:port`.
/// An error leaves the topology as it was.
///
/// # Errors
/// When an entry is malformed or names a node that is not in the topology.
pub fn publish(topology: &mut Topology, overrides: &[String]) -> Result<(), TopologyLoadError> {
    let mut changed = topology.clone();
    for entry in overrides {
        let malformed = || TopologyLoadError::Published { got: cut(entry) };
        let (name, address) = entry.split_once('=').ok_or_else(malformed)?;
        let (name, address) = (name.trim(), address.trim());
        if !address::is_host_and_port(address) {
            return Err(malformed());
        }
        let Some(node) = changed.nodes.get_mut(name) else {
            let nodes = topology.nodes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(TopologyLoadError::UnknownNode { got: cut(entry), nodes });
        };
        node.published = Some(address.to_owned());
    }
    *topology = changed;
    Ok(())
}
