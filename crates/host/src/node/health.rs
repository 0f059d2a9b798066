//! Asks a node on this machine whether it is ready, for container engines. It does not know what the node needs.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{NodeArgs, NodeError, NodeSpec, sockets};
use crate::peers;

/// Longest time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Pause between two looks while watching.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// As much of one need as matters here.
#[derive(Deserialize)]
struct Need {
    since_s: u64,
}

/// Fails when the node is not ready, which listens on `listen` or where it would by default. One that has been ready for longer than `watch` is watched for that long.
///
/// Engines before Docker 25 know one interval for checks, from the start of a container to its end. Checking
/// every moment notices quickly that a node is ready, and would be a waste from then on; hence the watch.
pub(super) async fn check(
    spec: &'static NodeSpec,
    args: &NodeArgs,
    listen: Option<&str>,
    watch: Duration,
) -> Result<(), NodeError> {
    let address = listen.map_or_else(|| sockets::http_address(spec, args), |given| Ok(given.to_owned()))?;
    // Who listens on any address can be asked on this machine's own.
    let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    let url = format!("http://{address}/readyz");
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build().map_err(unhealthy)?;
    let began = Instant::now();
    let ready_for = ask(&client, &url).await?;
    while ready_for >= watch && began.elapsed() + LOOK_AGAIN < watch {
        tokio::time::sleep(LOOK_AGAIN).await;
        ask(&client, &url).await?;
    }
    Ok(())
}

/// For how long the node has been ready.
async fn ask(client: &reqwest::Client, url: &str) -> Result<Duration, NodeError> {
    let answer = client.get(url).send().await.map_err(unhealthy)?;
    let status = answer.status();
    let text = answer.text().await.map_err(unhealthy)?;
    if !status.is_success() {
        return Err(NodeError::Unhealthy(text));
    }
    let needs: Vec<Need> = serde_json::from_str(&text).unwrap_or_default();
    Ok(Duration::from_secs(needs.iter().map(|need| need.since_s).min().unwrap_or(0)))
}

fn unhealthy(error: reqwest::Error) -> NodeError {
    NodeError::Unhealthy(peers::reason(&error))
}
