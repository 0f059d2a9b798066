//! A counted set of destinations: one exchange may be bound to one destination several times.
//!
//! Does not know by which rule a message selects it.

use std::collections::BTreeMap;

use super::topology::Destination;

/// Destinations, each with the number of bindings that lead to it. In a fixed order, so that routing is repeatable.
#[derive(Debug, Default)]
pub(super) struct Targets(BTreeMap<Destination, usize>);

impl Targets {
    pub(super) fn insert(&mut self, target: &Destination) {
        *self.0.entry(target.clone()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, target: &Destination) {
        if let Some(count) = self.0.get_mut(target) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(target);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.keys()
    }
}
