//! What a node says about itself on `/`, for people (as text) and for programs (as JSON). A program finds
//! here which node starts which paradigm, so that it needs no list of paradigms of its own.

use serde::{Deserialize, Serialize};

use crate::topology::Topology;

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Its name in the topology.
    pub node: String,
    /// What it is, in a sentence.
    pub about: String,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The ends of paradigms in it.
    pub roles: Vec<RoleDescription>,
    /// Lines to copy, with the address under which the node was asked.
    pub curl: Vec<CurlLine>,
    /// Where everyone is.
    pub topology: Topology,
}

/// One end of one paradigm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDescription {
    /// The paradigm, such as `request-response`.
    pub paradigm: String,
    /// What this end does, in a sentence.
    pub about: String,
    /// Path to POST to in order to start a run; `None` for a receiving end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// Node that receives a run's messages (its inbox has them); `None` for a receiving end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// Short exchanges that show the paradigm, in the order in which to show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub demonstrations: Vec<Demonstration>,
}

/// A short exchange that shows something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demonstration {
    /// Its heading.
    pub title: String,
    /// What will happen and what to look at.
    pub explanation: String,
    /// Query for the POST, without `?`.
    pub query: String,
    /// Run it once for each broker of the topology, with `broker=NAME`.
    pub per_broker: bool,
    /// Whether all messages have to arrive.
    pub lossless: bool,
}

/// A command line to copy and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurlLine {
    /// What it shows.
    pub about: String,
    /// The line.
    pub line: String,
}

/// What a node says on standard output to the process that started it: where it listens, as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its name.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// Address for HTTP.
    pub http: String,
    /// Address for datagrams, if it has one.
    pub udp: Option<String>,
    /// Address for AMQP, if it has one.
    pub amqp: Option<String>,
}
