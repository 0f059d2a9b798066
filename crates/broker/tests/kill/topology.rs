//! What must exist after a restart: what was declared and answered, and nothing that was deleted and answered.
//!
//! Knows names only; what a name holds is the ledger's business.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::BRIEF;
use super::process::Program;

/// Entries that are asked for at once: more than there can be.
const LIMIT: &str = "limit=1000000";

/// What is known of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    Gone,
    /// It was asked for, and not answered.
    InDoubt,
}

/// A queue, an exchange or a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Queue(String),
    Exchange(String),
    Binding { source: String, destination: String, key: String },
}

impl Thing {
    fn hangs_on(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Binding { destination, .. }, Self::Queue(name)) => destination == name,
            (Self::Binding { source, .. }, Self::Exchange(name)) => source == name,
            _ => false,
        }
    }
}

#[derive(Default)]
pub(crate) struct Topology {
    known: BTreeMap<Thing, Presence>,
    pub(crate) changes: u64,
}

impl Topology {
    /// Whether it was declared and answered.
    pub(crate) fn is_there(&self, thing: &Thing) -> bool {
        self.known.get(thing) == Some(&Presence::There)
    }

    /// It is about to be declared.
    pub(crate) fn declaring(&mut self, thing: &Thing) {
        let presence = self.known.entry(thing.clone()).or_insert(Presence::InDoubt);
        if *presence == Presence::Gone {
            *presence = Presence::InDoubt;
        }
    }

    pub(crate) fn declared(&mut self, thing: &Thing) {
        self.changes += 1;
        self.known.insert(thing.clone(), Presence::There);
    }

    /// It is about to be deleted, and with it what hangs on it.
    pub(crate) fn deleting(&mut self, thing: &Thing) {
        self.set_with_bindings(thing, Presence::InDoubt);
    }

    pub(crate) fn deleted(&mut self, thing: &Thing) {
        self.changes += 1;
        self.set_with_bindings(thing, Presence::Gone);
    }

    fn set_with_bindings(&mut self, thing: &Thing, presence: Presence) {
        self.known.insert(thing.clone(), presence);
        for (hanging, known) in &mut self.known {
            if hanging.hangs_on(thing) && *known != Presence::Gone {
                *known = presence;
            }
        }
    }

    /// Compares with what the broker has; what is wrong with it. From then on nothing is in doubt.
    pub(crate) fn check(&mut self, program: &Program) -> Vec<String> {
        let mut there = BTreeSet::new();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let queues = program.json(&format!("/queues?{LIMIT}"));
        there.extend(queues.iter().map(|queue| Thing::Queue(text(&queue["name"]))));
        let exchanges = program.json(&format!("/exchanges?{LIMIT}"));
        there.extend(exchanges.iter().map(|exchange| Thing::Exchange(text(&exchange["name"]))));
        there.extend(program.json(&format!("/bindings?{LIMIT}")).iter().map(|binding| Thing::Binding {
            source: text(&binding["source"]),
            destination: text(&binding["destination"]),
            key: text(&binding["routing_key"]),
        }));
        let mut faults = Vec::new();
        for (thing, presence) in &mut self.known {
            match (*presence, there.contains(thing)) {
                (Presence::There, false) => faults.push(format!("{thing:?} was declared and is not there")),
                (Presence::Gone, true) => faults.push(format!("{thing:?} was deleted and is there")),
                (_, true) => *presence = Presence::There,
                (_, false) => *presence = Presence::Gone,
            }
        }
        for thing in there {
            let ours = match &thing {
                Thing::Queue(name) => !name.starts_with(BRIEF),
                Thing::Exchange(name) => !name.starts_with("amq."),
                Thing::Binding { .. } => true,
            };
            if ours && !self.known.contains_key(&thing) {
                faults.push(format!("{thing:?} is there and was never declared"));
            }
        }
        faults
    }
}
