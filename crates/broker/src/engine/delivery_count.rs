//! Quorum queues count how often a message came back: told to consumers, and bounded.
//!
//! Does not know why a message comes back.

use std::sync::Arc;

use super::Engine;
use super::dead_letter::headers;
use super::entry::Entry;
use super::queue::Queue;
use crate::frame::table_edit::long;
use crate::message::{Message, Resident};

impl Queue {
    /// Takes out those that came back more often than may be.
    pub(super) fn take_spent(&self, entries: &mut Vec<Entry>) -> Vec<Entry> {
        match self.settings.delivery_limit {
            // The return that is being counted is not in the entry yet.
            Some(limit) => entries.extract_if(.., |entry| entry.returned >= limit).collect(),
            None => Vec::new(),
        }
    }

    /// Whether consumers are to be told how often this message came back.
    pub(super) fn tells_count_of(&self, entry: &Entry) -> bool {
        self.settings.quorum && entry.redelivered()
    }
}

impl Engine {
    /// The message as it is delivered when it came back so often.
    pub(super) fn with_delivery_count(&self, message: &Message, returned: u16) -> Arc<Message> {
        let mut headers = headers(message);
        headers.set("x-delivery-count", &long(i64::from(returned)));
        let content = message.content.with_headers(&headers, false);
        let resident = Resident::new(&content, &self.resident);
        Arc::new(message.with_content(content, resident))
    }
}
