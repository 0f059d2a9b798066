//! Shows every paradigm of a cluster once, one after the other, tells what happened and compares. What there is
//! to show, the nodes say themselves.

use std::io::Write;

use crosstalk_contract::{
    describe::Demonstration,
    record::MessageTimeline,
    report::{RunReport, RunState},
};
use crosstalk_host::peers::Peers;

use crate::{LabError, cluster::Cluster, story, table};

/// How slow receivers are during the tour, so that waiting can be told from not waiting: slower than a line and
/// a disk, fast enough for a short tour.
const WORK: &str = r#"{"work": "5ms", "concurrency": 16}"#;
/// Messages of each run that are told one by one.
const TOLD: usize = 3;

/// What a tour amounted to.
#[derive(Debug)]
pub struct Toured {
    /// One row for each exchange.
    pub rows: Vec<Row>,
}

/// One exchange of the tour.
#[derive(Debug)]
pub struct Row {
    /// Its heading.
    pub title: String,
    /// Whether all messages had to arrive.
    pub lossless: bool,
    /// Its accounts; `None` when it could not be started.
    pub report: Option<RunReport>,
}

impl Row {
    /// Whether everything arrived that had to.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.report.as_ref().is_some_and(|report| {
            let messages = &report.messages;
            let all_sent =
                report.state == RunState::Complete && messages.sent == messages.intended && messages.sent > 0;
            all_sent && messages.unknown == 0 && (!self.lossless || messages.delivered == messages.expected)
        })
    }
}

impl Toured {
    /// Whether everything arrived that had to.
    #[must_use]
    pub fn complete(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::complete)
    }
}

/// A stop of the tour: where to POST what.
struct Stop<'a> {
    title: String,
    node: &'a str,
    url: String,
    base: &'a str,
    demonstration: &'a Demonstration,
}

/// Runs the tour and tells it to `out`, until it is over or `stop` is; the receivers are as fast as before then.
///
/// # Errors
/// When `out` cannot be written. A paradigm that fails is part of the story.
pub async fn run(
    cluster: &Cluster,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<Option<Toured>, LabError> {
    let slowed = slow_down(cluster).await;
    say(
        out,
        "\nDuring the tour each receiver works 5 ms on every message, up to 16 at once, so that waiting can be told from\nnot waiting. Every latency below contains these 5 ms.\n",
    )?;
    for (url, _) in &slowed {
        say(out, &format!("  $ curl -X PUT -d '{WORK}' '{url}'\n"))?;
    }
    let toured = tokio::select! {
        rows = show(cluster, out) => Some(Toured { rows: rows? }),
        () = stop => None,
    };
    restore(cluster, slowed).await;
    if let Some(toured) = &toured {
        say(out, &format!("\n{}\n", table::side_by_side(&toured.rows)))?;
    }
    Ok(toured)
}

async fn show(cluster: &Cluster, out: &mut impl Write) -> Result<Vec<Row>, LabError> {
    let stops = stops(cluster);
    let mut rows = Vec::new();
    for (index, stop) in stops.iter().enumerate() {
        let heading = format!("── {} of {} ── {} ", index + 1, stops.len(), stop.title);
        say(out, &format!("\n{heading:─<100}\n{}\n", story::wrapped(&stop.demonstration.explanation, 100)))?;
        say(out, &format!("\n  $ curl -X POST '{}'\n\n", stop.url))?;
        let asked = cluster.client().post(&stop.url);
        let report = match Peers::json::<RunReport>(stop.node, asked).await {
            Ok(report) => {
                let timelines = timelines(cluster, stop, &report).await;
                say(out, &story::told(&report, &timelines, TOLD))?;
                Some(report)
            }
            Err(error) => {
                say(out, &format!("  It could not be shown: {error}\n"))?;
                None
            }
        };
        rows.push(Row { title: stop.title.clone(), lossless: stop.demonstration.lossless, report });
    }
    Ok(rows)
}

fn say(out: &mut impl Write, text: &str) -> Result<(), LabError> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(LabError::io("write the tour"))
}

fn stops(cluster: &Cluster) -> Vec<Stop<'_>> {
    let mut stops = Vec::new();
    for (node, role, path) in cluster.starting() {
        for demonstration in &role.demonstrations {
            let stop = |title: String, broker: &str| Stop {
                title,
                node: &node.description.node,
                url: format!("{}{path}?{}{broker}", node.url, demonstration.query),
                base: &node.url,
                demonstration,
            };
            if !demonstration.per_broker {
                stops.push(stop(demonstration.title.clone(), ""));
            }
            for broker in cluster.brokers().iter().filter(|_| demonstration.per_broker) {
                let title = format!("{} ({})", demonstration.title, broker.name);
                stops.push(stop(title, &format!("&broker={}", broker.name)));
            }
        }
    }
    stops
}

async fn timelines(cluster: &Cluster, stop: &Stop<'_>, report: &RunReport) -> Vec<MessageTimeline> {
    let url = format!("{}/runs/{}/messages?limit={TOLD}", stop.base, report.run);
    Peers::json(stop.node, cluster.client().get(url)).await.unwrap_or_default()
}

/// Makes every receiver slow enough to be seen; gives what they were before.
async fn slow_down(cluster: &Cluster) -> Vec<(String, serde_json::Value)> {
    let mut before = Vec::new();
    for node in cluster.nodes() {
        let url = format!("{}/behaviour", node.url);
        // Only nodes that receive have a behaviour.
        if let Ok(behaviour) = Peers::json(&node.description.node, cluster.client().get(&url)).await {
            let _ = cluster.client().put(&url).body(WORK).send().await;
            before.push((url, behaviour));
        }
    }
    before
}

async fn restore(cluster: &Cluster, before: Vec<(String, serde_json::Value)>) {
    for (url, behaviour) in before {
        let _ = cluster.client().put(url).body(behaviour.to_string()).send().await;
    }
}
