//! Dead letters: what a message becomes that a queue gives up, and where it goes (RabbitMQ's extension).
//!
//! Where a message died is kept in its headers (`x-death`), so that it can be told when it goes round in circles. Does
//! not know why a queue gives a message up.

use std::sync::Arc;

use super::Engine;
use super::exchange::Routed;
use super::extra_keys::ExtraKeys;
use super::queue::Queue;
use super::queue_arguments::DeadLetterTo;
use crate::frame::PropertyView;
use crate::frame::table_edit::{RawTable, array, long, long_string, table, timestamp};
use crate::identity::{QueueId, Timestamp};
use crate::message::{Message, Resident};

/// The headers that tell of deaths.
const DEATH_HEADERS: [&str; 7] = [
    "x-death",
    "x-first-death-reason",
    "x-first-death-queue",
    "x-first-death-exchange",
    "x-last-death-reason",
    "x-last-death-queue",
    "x-last-death-exchange",
];

/// Why a message becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    /// As in `x-death`.
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl Engine {
    /// Publishes a message that a queue gave up to the queue's dead-letter exchange, if there is one. Without a queue
    /// to go to, it ends here.
    pub(super) fn dead_letter(&mut self, id: QueueId, message: &Message, reason: Reason) {
        let Some(queue) = self.queues.get(&id) else { return };
        let Some(to) = &queue.settings.dead_letter else { return };
        let mut headers = headers(message);
        if !message.dead_letter {
            // What a client says of deaths, perhaps of those of another message that it sends on, counts for nothing.
            headers = DEATH_HEADERS.iter().fold(headers, |headers, name| headers.without(name));
        }
        record(&mut headers, message, &queue.name, reason, self.now);
        let mut extra_keys = Vec::new();
        if to.routing_key.is_some() {
            // It goes where the queue says and nowhere else, now and later.
            headers = headers.without("CC");
        } else if let Ok(extra) = ExtraKeys::parse(Some(&headers.encoded())) {
            extra_keys = extra.keys;
        }
        let content = message.content.with_headers(&headers, true);
        let letter = Message {
            exchange: (*to.exchange).into(),
            routing_key: key(to, message).into(),
            published_at: self.now,
            expires_at: None,
            priority: message.priority,
            persistent: message.persistent,
            dead_letter: true,
            resident: Resident::new(&content, &self.resident),
            content,
        };
        let vhost = &self.vhosts[queue.vhost.0];
        let mut routes = Vec::new();
        if to.exchange.is_empty() {
            let keys = std::iter::once(&letter.routing_key).chain(&extra_keys);
            routes.extend(keys.filter_map(|key| vhost.queues.get(&**key)));
            routes.sort_unstable();
            routes.dedup();
        } else if let Some(exchange) = vhost.exchanges.get(&to.exchange) {
            vhost.route(exchange, &Routed::new(&letter).with_extra_keys(&extra_keys), &mut routes);
        }
        if reason != Reason::Rejected {
            let deaths = deaths(&headers);
            routes.retain(|target| !self.queues.get(target).is_some_and(|target| is_cycle(&deaths, target)));
        }
        if !routes.is_empty() {
            self.place(&Arc::new(letter), &routes);
        }
    }
}

/// The routing key of a dead letter.
fn key<'a>(to: &'a DeadLetterTo, message: &'a Message) -> &'a str {
    to.routing_key.as_deref().unwrap_or(&message.routing_key)
}

/// A message's headers, to be changed.
pub(super) fn headers(message: &Message) -> RawTable {
    let properties = PropertyView::parse(message.content.properties());
    properties.and_then(|properties| properties.headers).map(RawTable::of).unwrap_or_default()
}

/// Where a message died so far, the last time first.
fn deaths(headers: &RawTable) -> Vec<RawTable> {
    headers
        .get("x-death")
        .map(|deaths| deaths.elements().filter_map(|death| death.table()).collect())
        .unwrap_or_default()
}

fn says(death: &RawTable, key: &str, text: &str) -> bool {
    death.get(key).and_then(|value| value.long_string()) == Some(text.as_bytes())
}

/// Writes a death into the headers: counted for each queue and reason, with what was true the first time.
fn record(headers: &mut RawTable, message: &Message, queue: &str, reason: Reason, now: Timestamp) {
    let mut deaths = deaths(headers);
    let same = deaths.iter().position(|death| says(death, "queue", queue) && says(death, "reason", reason.name()));
    let death = match same {
        Some(at) => {
            let mut death = deaths.remove(at);
            let count = death.get("count").and_then(|count| count.long()).unwrap_or_default();
            death.set("count", &long(count.saturating_add(1)));
            death
        }
        None => first_death(message, queue, reason, now),
    };
    deaths.insert(0, death);
    let encoded: Vec<_> = deaths.iter().map(table).collect();
    headers.set("x-death", &array(&encoded));
    for (name, value) in [("reason", reason.name()), ("queue", queue), ("exchange", &*message.exchange)] {
        let (first, last) = (format!("x-first-death-{name}"), format!("x-last-death-{name}"));
        let value = long_string(value.as_bytes());
        if headers.get(&first).is_none() {
            headers.set(&first, &value);
        }
        headers.set(&last, &value);
    }
}

fn first_death(message: &Message, queue: &str, reason: Reason, now: Timestamp) -> RawTable {
    let mut death = RawTable::default();
    let properties = PropertyView::parse(message.content.properties());
    // With the keys of CC, but not of BCC, which nobody is to see.
    let extra = ExtraKeys::parse(Some(&headers(message).encoded())).map(|extra| extra.keys).unwrap_or_default();
    if let Some(expiration) = properties.and_then(|properties| properties.expiration) {
        death.set("original-expiration", &long_string(expiration));
    }
    let text = |text: &str| long_string(text.as_bytes());
    let keys: Vec<_> = std::iter::once(&message.routing_key).chain(&extra).map(|key| text(key)).collect();
    death
        .with("count", &long(1))
        .with("reason", &text(reason.name()))
        .with("queue", &text(queue))
        .with("time", &timestamp(now.0 / 1000))
        .with("exchange", &text(&message.exchange))
        .with("routing-keys", &array(&keys))
}

/// Whether a message has been in this queue before and came back without anyone having rejected it on the way: it would
/// go round for ever.
fn is_cycle(deaths: &[RawTable], target: &Queue) -> bool {
    let Some(at) = deaths.iter().position(|death| says(death, "queue", &target.name)) else { return false };
    !deaths[..=at].iter().any(|death| says(death, "reason", Reason::Rejected.name()))
}
