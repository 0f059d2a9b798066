//! One link for each broker of a node's topology. It does not know which of them a run wants.

use std::{sync::Arc, time::Duration};

use backon::BackoffBuilder;
use crosstalk_host::{
    Host,
    config::{ConfigError, Span},
};
use serde::Deserialize;

use crate::{Link, LinkError};

/// How brokers are connected to (`[amqp]`).
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkOptions {
    pub(crate) heartbeat: Span,
    pub(crate) connect_timeout: Span,
    pub(crate) backoff_min: Span,
    pub(crate) backoff_max: Span,
}

impl LinkOptions {
    pub(crate) fn heartbeat_s(&self) -> u16 {
        u16::try_from(self.heartbeat.as_secs().max(1)).unwrap_or(u16::MAX)
    }

    /// Pauses between attempts, for good. Spread at random, as all nodes lose a broker at the same moment.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let (min, max) = (self.backoff_min.0, self.backoff_max.0);
        backon::ExponentialBuilder::default()
            .with_min_delay(min)
            .with_max_delay((max / 2).max(min)) // the jitter at most doubles it
            .with_jitter()
            .without_max_times()
            .build()
            .map(move |pause| pause.min(max))
    }
}

/// The links of one node; cheap to clone.
#[derive(Clone)]
pub struct Links(Arc<[Link]>);

impl Links {
    /// Begins to connect to every broker of the topology. A node without brokers has no links, and starts.
    ///
    /// # Errors
    /// When `[amqp]` is wrong.
    pub fn open(host: &Host) -> Result<Self, ConfigError> {
        let options: LinkOptions = host.config().section("amqp")?;
        Ok(Self(host.topology().brokers.iter().map(|broker| Link::open(host, broker, options)).collect()))
    }

    /// All links, in the topology's order.
    #[must_use]
    pub fn all(&self) -> &[Link] {
        &self.0
    }

    /// The link to the broker of that name, or to the first one.
    ///
    /// # Errors
    /// When there is none.
    pub fn choose(&self, name: Option<&str>) -> Result<&Link, LinkError> {
        let Some(name) = name else { return self.0.first().ok_or(LinkError::NoBroker) };
        self.0.iter().find(|link| link.broker() == name).ok_or_else(|| match self.0.is_empty() {
            true => LinkError::NoBroker,
            false => LinkError::Unknown {
                name: name.to_owned(),
                known: self.0.iter().map(Link::broker).collect::<Vec<_>>().join(", "),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound_and_never_end() {
        let span = |millis| Span(Duration::from_millis(millis));
        let options = LinkOptions {
            heartbeat: span(10_500),
            connect_timeout: span(2000),
            backoff_min: span(100),
            backoff_max: span(2000),
        };
        let pauses: Vec<_> = options.pauses().take(1000).collect();
        assert_eq!(pauses.len(), 1000);
        assert!(pauses[0] >= Duration::from_millis(100));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(2)));
        assert_eq!(options.heartbeat_s(), 10);
    }
}
