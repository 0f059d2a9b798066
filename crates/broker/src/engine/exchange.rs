//! One exchange: its properties and its rule for choosing destinations.
//!
//! Knows its own bindings by their keys; that a destination may itself be an exchange, and what lies behind it, is
//! the topology's business.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use amq_protocol::types::FieldTable;
use amq_protocol::types::parsing::parse_field_table;

use super::argument_text::type_name;
use super::headers::{HeadersPattern, text};
use super::targets::Targets;
use super::topic::TopicTrie;
use super::topology::Destination;
use crate::frame::{peek_headers, scan_table};
use crate::message::Message;
use crate::store::StoredExchange;

/// The optional argument that names an exchange for what no binding wants; the only one that means something here, and
/// so the only one that is compared when an exchange is declared again.
pub(super) const ALTERNATE: &str = "alternate-exchange";

/// The exchange types of the specification (section 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl ExchangeKind {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "direct" => Self::Direct,
            "fanout" => Self::Fanout,
            "topic" => Self::Topic,
            "headers" => Self::Headers,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

#[derive(Debug)]
enum Router {
    Direct(HashMap<Box<str>, Targets>),
    Fanout(Targets),
    Topic(TopicTrie),
    Headers(Vec<(HeadersPattern, Destination)>),
}

/// An exchange and the bindings it is the source of.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) name: Arc<str>,
    pub(super) kind: ExchangeKind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) arguments: Arc<FieldTable>,
    /// Where messages go that this exchange has no destination for (`alternate-exchange`).
    pub(super) alternate: Option<Arc<str>>,
    router: Router,
    binding_count: usize,
}

impl Exchange {
    pub(super) fn new(name: Arc<str>, kind: ExchangeKind) -> Self {
        let router = match kind {
            ExchangeKind::Direct => Router::Direct(HashMap::new()),
            ExchangeKind::Fanout => Router::Fanout(Targets::default()),
            ExchangeKind::Topic => Router::Topic(TopicTrie::default()),
            ExchangeKind::Headers => Router::Headers(Vec::new()),
        };
        let arguments = Arc::default();
        let (durable, auto_delete, internal) = (false, false, false);
        Self { name, kind, durable, auto_delete, internal, arguments, alternate: None, router, binding_count: 0 }
    }

    /// Takes its optional arguments, and acts upon those it knows.
    ///
    /// # Errors
    /// The type of [`ALTERNATE`] when it is not a string.
    pub(super) fn set_arguments(&mut self, arguments: FieldTable) -> Result<(), &'static str> {
        if let Some(value) = arguments.inner().get(ALTERNATE) {
            self.alternate = Some(text(value).ok_or_else(|| type_name(value))?.into());
        }
        self.arguments = arguments.into();
        Ok(())
    }

    /// What is stored of it, in this virtual host.
    pub(super) fn stored(&self, vhost: &Arc<str>) -> StoredExchange {
        StoredExchange {
            vhost: vhost.clone(),
            name: self.name.clone(),
            kind: self.kind.name().into(),
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: FieldTable::clone(&self.arguments),
        }
    }

    /// How many bindings this exchange is the source of.
    pub(super) fn binding_count(&self) -> usize {
        self.binding_count
    }

    /// Adds a binding.
    ///
    /// # Errors
    /// What is wrong with `x-match`, for a headers exchange.
    pub(super) fn bind(&mut self, key: &str, arguments: &FieldTable, target: &Destination) -> Result<(), String> {
        match &mut self.router {
            Router::Direct(keys) => keys.entry(key.into()).or_default().insert(target),
            Router::Fanout(targets) => targets.insert(target),
            Router::Topic(trie) => trie.insert(key, target),
            Router::Headers(patterns) => patterns.push((HeadersPattern::parse(arguments)?, target.clone())),
        }
        self.binding_count += 1;
        Ok(())
    }

    /// Removes a binding that was added with the same values.
    pub(super) fn unbind(&mut self, key: &str, arguments: &FieldTable, target: &Destination) {
        match &mut self.router {
            Router::Direct(keys) => {
                if let Some(targets) = keys.get_mut(key) {
                    targets.remove(target);
                    if targets.is_empty() {
                        keys.remove(key);
                    }
                }
            }
            Router::Fanout(targets) => targets.remove(target),
            Router::Topic(trie) => trie.remove(key, target),
            Router::Headers(patterns) => {
                let pattern = HeadersPattern::parse(arguments).ok();
                if let Some(at) = patterns.iter().position(|(p, t)| Some(p) == pattern.as_ref() && t == target) {
                    patterns.remove(at);
                }
            }
        }
        self.binding_count -= 1;
    }

    /// Calls `found` with each destination of a message, possibly more than once with the same.
    pub(super) fn route<'a>(&'a self, message: &Routed<'_>, mut found: impl FnMut(&'a Destination)) {
        match &self.router {
            Router::Direct(keys) => {
                for targets in message.keys().filter_map(|key| keys.get(key)) {
                    targets.iter().for_each(&mut found);
                }
            }
            Router::Fanout(targets) => targets.iter().for_each(found),
            Router::Topic(trie) => {
                for key in message.keys() {
                    trie.matches(key, |targets| targets.iter().for_each(&mut found));
                }
            }
            Router::Headers(patterns) => {
                let headers = message.headers();
                patterns.iter().filter(|(pattern, _)| pattern.matches(headers)).for_each(|(_, target)| found(target));
            }
        }
    }
}

/// What exchanges look at when they route a message. The headers are parsed only if one asks for them.
pub(super) struct Routed<'a> {
    routing_key: &'a str,
    extra_keys: &'a [Box<str>],
    properties: &'a [u8],
    headers: OnceCell<FieldTable>,
}

impl<'a> Routed<'a> {
    pub(super) fn new(message: &'a Message) -> Self {
        let (routing_key, properties) = (&message.routing_key, message.content.properties());
        Self { routing_key, extra_keys: &[], properties, headers: OnceCell::new() }
    }

    /// With keys besides the message's own.
    pub(super) fn with_extra_keys(self, extra_keys: &'a [Box<str>]) -> Self {
        Self { extra_keys, ..self }
    }

    /// All routing keys.
    fn keys(&self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.routing_key).chain(self.extra_keys.iter().map(|key| &**key))
    }

    /// The message's headers; a table the parser cannot read (a key that is not UTF-8) counts as none.
    fn headers(&self) -> &FieldTable {
        self.headers.get_or_init(|| {
            let encoded = peek_headers(self.properties).filter(|table| scan_table(table).is_ok());
            encoded.and_then(|table| parse_field_table(table).ok()).map(|(_, table)| table).unwrap_or_default()
        })
    }
}
