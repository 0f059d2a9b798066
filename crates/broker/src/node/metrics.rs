//! What the broker holds and what went over the wire, for Prometheus.
//!
//! Everything is taken from one snapshot for each scrape; nothing is counted here.

use crosstalk_host::Host;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::{Broker, QueueSnapshot, Snapshot, StoreMetrics, TrafficTotals};

/// What the names of all figures begin with.
const PREFIX: &str = "crosstalk_broker";

/// Adds the broker's figures to the node's page of metrics, those of single queues for at most `queues_max` of them.
pub(super) fn offer(host: &Host, broker: &Broker, queues_max: usize) {
    let broker = broker.clone();
    host.metrics().add_source(move || {
        let broker = broker.clone();
        async move {
            // A broker whose engine has ended has nothing to show; that it has ended, readiness says.
            let snapshot = broker.snapshot().await.unwrap_or_default();
            let mut registry = registry(&snapshot, &broker.traffic(), queues_max);
            if let Some(metrics) = broker.store_metrics() {
                store(&mut registry, metrics);
            }
            registry
        }
    });
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    vhost: String,
    queue: String,
}

/// Everything, as it is at this moment.
fn registry(snapshot: &Snapshot, traffic: &TrafficTotals, queues_max: usize) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    held(&mut registry, snapshot);
    let listed = &snapshot.queues[..snapshot.queues.len().min(queues_max)];
    gauge(
        &mut registry,
        "queues_left_out",
        "Queues without figures of their own",
        snapshot.queues.len() - listed.len(),
    );
    queues(&mut registry, listed);
    wire(&mut registry, traffic);
    registry
}

fn held(registry: &mut Registry, snapshot: &Snapshot) {
    let Snapshot { connections, queues, exchanges, bindings, consumers, held_bytes, blocked } = snapshot;
    let channels = connections.iter().map(|connection| connection.channels.len()).sum();
    let backlog = connections.iter().map(|connection| connection.backlog_bytes).sum();
    let ready = queues.iter().map(|queue| queue.ready).sum();
    let unacknowledged = queues.iter().map(|queue| queue.unacknowledged).sum();
    for (name, help, value) in [
        ("connections", "Open connections", connections.len()),
        ("channels", "Open channels", channels),
        ("consumers", "Consumers", consumers.len()),
        ("queues", "Queues", queues.len()),
        ("exchanges", "Exchanges, without the default ones", exchanges.len()),
        ("bindings", "Bindings, without those of the default exchanges", bindings.len()),
        ("ready", "Messages that wait for a consumer, in all queues", ready),
        ("unacknowledged", "Messages delivered and not yet settled, of all queues", unacknowledged),
        ("held_bytes", "Memory of all messages held", *held_bytes),
        ("backlog_bytes", "Deliveries on their way to consumers", backlog),
        ("blocked", "1 while publishers are held back because too much is held", usize::from(blocked.is_some())),
    ] {
        gauge(registry, name, help, value);
    }
}

fn queues(registry: &mut Registry, queues: &[QueueSnapshot]) {
    type Read<T> = fn(&QueueSnapshot) -> T;
    let gauges: [(&str, &str, Read<usize>); 4] = [
        ("queue_ready", "Messages that wait for a consumer", |queue| queue.ready),
        ("queue_ready_bytes", "Octets of those, in memory or on disk", |queue| queue.ready_bytes),
        ("queue_unacknowledged", "Messages delivered and not yet settled", |queue| queue.unacknowledged),
        ("queue_consumers", "Consumers", |queue| queue.consumers),
    ];
    let counters: [(&str, &str, Read<u64>); 4] = [
        ("queue_published", "Messages routed into the queue", |queue| queue.totals.published),
        ("queue_delivered", "Messages handed out, redeliveries included", |queue| queue.totals.delivered),
        ("queue_redelivered", "Messages handed out again", |queue| queue.totals.redelivered),
        ("queue_acknowledged", "Messages settled for good", |queue| queue.totals.acknowledged),
    ];
    let labels = |queue: &QueueSnapshot| Queue { vhost: queue.vhost.clone(), queue: queue.name.clone() };
    for (name, help, read) in gauges {
        let family = Family::<Queue, Gauge>::default();
        for queue in queues {
            family.get_or_create(&labels(queue)).set(as_gauge(read(queue)));
        }
        registry.register(name, help, family);
    }
    for (name, help, read) in counters {
        let family = Family::<Queue, Counter>::default();
        for queue in queues {
            family.get_or_create(&labels(queue)).inc_by(read(queue));
        }
        registry.register(name, help, family);
    }
}

fn wire(registry: &mut Registry, traffic: &TrafficTotals) {
    for (name, help, total) in [
        ("received_bytes", "Octets read from connections", traffic.received_bytes),
        ("received_frames", "Frames read from connections", traffic.received_frames),
        ("sent_bytes", "Octets written to connections", traffic.sent_bytes),
        ("sent_frames", "Frames written to connections", traffic.sent_frames),
        ("connections_opened", "Connections that logged in", traffic.connections_opened),
        ("connections_refused", "Connections closed at once for want of a place", traffic.connections_refused),
        ("connections_displaced", "Connections that lost their place before login", traffic.connections_displaced),
        ("logins_refused", "Attempts to log in that failed", traffic.logins_refused),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(total);
        registry.register(name, help, counter);
    }
}

fn store(registry: &mut Registry, metrics: &StoreMetrics) {
    for (name, help, count) in [
        ("store_syncs", "Syncs of files and directories", &metrics.syncs),
        ("store_written_bytes", "Octets written", &metrics.written_octets),
        ("store_moved_bytes", "Octets written once more so that an old segment could go", &metrics.moved_octets),
        ("store_failures", "Writes and syncs that failed", &metrics.failures),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(count.get());
        registry.register(name, help, counter);
    }
    for (name, help, count) in [
        ("store_segments", "Segment files", &metrics.segments),
        ("store_disk_bytes", "Octets of all files", &metrics.disk_octets),
        ("store_live_bytes", "Octets of messages that a queue holds", &metrics.live_octets),
        ("store_live_messages", "Messages on disk that a queue holds", &metrics.live_messages),
    ] {
        gauge(registry, name, help, usize::try_from(count.get()).unwrap_or(usize::MAX));
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(as_gauge(value));
    registry.register(name, help, gauge);
}

fn as_gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::QueueId;
    use crate::{Arguments, QueueTotals};

    pub(in super::super) fn queue(name: &str, ready: usize) -> QueueSnapshot {
        QueueSnapshot {
            id: QueueId(1),
            name: name.to_owned(),
            vhost: "/".to_owned(),
            durable: false,
            auto_delete: false,
            exclusive: false,
            queue_type: "classic",
            arguments: Arguments::default(),
            ready,
            ready_bytes: 0,
            unacknowledged: 0,
            consumers: 0,
            totals: QueueTotals { published: 7, ..QueueTotals::default() },
        }
    }

    #[test]
    fn queues_beyond_the_bound_count_in_the_totals_only() {
        let snapshot =
            Snapshot { queues: vec![queue("a", 1), queue("b\"\n", 2), queue("c", 4)], ..Snapshot::default() };
        let mut text = String::new();
        let registry = registry(&snapshot, &TrafficTotals::default(), 2);
        prometheus_client::encoding::text::encode_registry(&mut text, &registry).unwrap();
        for line in [
            "crosstalk_broker_ready 7\n",
            "crosstalk_broker_queues_left_out 1\n",
            "crosstalk_broker_queue_ready{vhost=\"/\",queue=\"b\\\"\\n\"} 2\n",
            "crosstalk_broker_queue_published_total{vhost=\"/\",queue=\"a\"} 7\n",
            "crosstalk_broker_received_bytes_total 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("queue=\"c\""));
    }
}
