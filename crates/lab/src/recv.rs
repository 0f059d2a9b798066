//! Fetches what a receiver got of a run, in order, and says what is missing. It does not know how it came.

use std::{collections::BTreeSet, io::Write};

use crosstalk_contract::{
    RunId,
    record::InboxReport,
    report::{Missing, RunReport},
};
use crosstalk_host::peers::{PeerError, Peers, unreachable_peer};

use crate::{
    LabError,
    cluster::{Cluster, Node},
};

/// What was fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The node that had it.
    pub receiver: String,
    /// Messages of the run; 0 when unknown.
    pub of: u64,
    /// Different messages that arrived.
    pub messages: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Messages that did not arrive.
    pub missing: Vec<Missing>,
}

/// Writes the payloads of `run` to `out` in the order of their numbers; of several receivers in a node, one
/// copy of each message, or those of `receiver` alone.
///
/// # Errors
/// When no node knows the run, or `out` cannot be written.
pub async fn recv(
    cluster: &Cluster,
    run: RunId,
    receiver: Option<&str>,
    out: &mut impl Write,
) -> Result<Fetched, LabError> {
    for node in cluster.nodes() {
        let url = format!("{}/inbox/{run}?records=true", node.url);
        match Peers::json::<InboxReport>(&node.description.node, cluster.client().get(url)).await {
            Ok(report) => return fetch(cluster, node, &report, receiver, out).await,
            Err(PeerError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    nothing_arrived(cluster, run).await
}

async fn fetch(
    cluster: &Cluster,
    node: &Node,
    report: &InboxReport,
    receiver: Option<&str>,
    out: &mut impl Write,
) -> Result<Fetched, LabError> {
    let name = &node.description.node;
    if let Some(wanted) = receiver.filter(|wanted| report.receivers.iter().all(|known| known.receiver != *wanted)) {
        let known: Vec<_> = report.receivers.iter().map(|receiver| receiver.receiver.as_str()).collect();
        return Err(LabError::NoSuchReceiver { asked: wanted.to_owned(), known: known.join(", ") });
    }
    let receivers = report.receivers.iter().filter(|r| receiver.is_none_or(|wanted| r.receiver == wanted));
    let arrived: BTreeSet<u64> = receivers.flat_map(|r| r.records.iter().map(|record| record.seq)).collect();
    let mut request = cluster.client().get(format!("{}/inbox/{}/payloads", node.url, report.run));
    if let Some(receiver) = receiver {
        request = request.query(&[("receiver", receiver)]);
    }
    let mut response = Peers::checked(name, request).await?;
    let mut bytes = 0;
    while let Some(piece) = response.chunk().await.map_err(|error| unreachable_peer(name, error))? {
        out.write_all(&piece).map_err(LabError::io("write what was received"))?;
        bytes += piece.len() as u64;
    }
    out.flush().map_err(LabError::io("write what was received"))?;
    let missing = missing(name, report.of, &arrived);
    Ok(Fetched { receiver: name.clone(), of: report.of, messages: arrived.len() as u64, bytes, missing })
}

/// A run of which no inbox has anything: either it had no messages, or all are lost, or nobody knows it.
async fn nothing_arrived(cluster: &Cluster, run: RunId) -> Result<Fetched, LabError> {
    for (node, _, _) in cluster.starting() {
        let url = format!("{}/runs/{run}", node.url);
        if let Ok(report) = Peers::json::<RunReport>(&node.description.node, cluster.client().get(url)).await {
            let of = report.messages.sent;
            let missing = missing(&report.receiver, of, &BTreeSet::new());
            return Ok(Fetched { receiver: report.receiver, of, messages: 0, bytes: 0, missing });
        }
    }
    Err(LabError::NoSuchRun(run))
}

fn missing(receiver: &str, of: u64, arrived: &BTreeSet<u64>) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut next = 1;
    for seq in arrived.iter().copied().chain([of + 1]) {
        if seq > next {
            missing.push(Missing { receiver: receiver.to_owned(), from: next, through: seq - 1 });
        }
        next = next.max(seq + 1);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_in_ranges() {
        let ranges = |of, arrived: &[u64]| -> Vec<_> {
            missing("x", of, &arrived.iter().copied().collect()).iter().map(|m| (m.from, m.through)).collect()
        };
        assert_eq!(ranges(3, &[1, 2, 3]), []);
        assert_eq!(ranges(8, &[2, 3, 6]), [(1, 1), (4, 5), (7, 8)]);
        assert_eq!(ranges(2, &[]), [(1, 2)]);
        assert_eq!(ranges(0, &[]), []);
        assert_eq!(ranges(0, &[2]), [(1, 1)]);
    }
}
