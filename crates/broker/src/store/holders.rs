//! Sets of queues, each kept once however many messages are held by it.
//!
//! Most messages of a busy broker are held by one of a few sets, so that a number in place of the set makes the index
//! small. Does not know messages.

use std::collections::HashMap;

use crate::identity::QueueId;

/// A set of queues in [`HolderSets`]; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HoldersId(u32);

#[derive(Debug, Default)]
struct Holders {
    queues: Box<[QueueId]>,
    uses: u32,
}

/// All sets in use.
#[derive(Debug, Default)]
pub(super) struct HolderSets {
    sets: Vec<Holders>,
    by_queues: HashMap<Box<[QueueId]>, HoldersId>,
    free: Vec<HoldersId>,
}

impl HolderSets {
    /// The set of these queues, used once more; `None` for no queues.
    pub(super) fn acquire(&mut self, queues: &[QueueId]) -> Option<HoldersId> {
        if queues.is_empty() {
            return None;
        }
        if queues.is_sorted_by(|a, b| a < b) {
            return Some(self.acquire_sorted(queues));
        }
        let mut sorted = queues.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Some(self.acquire_sorted(&sorted))
    }

    fn acquire_sorted(&mut self, queues: &[QueueId]) -> HoldersId {
        let id = match self.by_queues.get(queues) {
            Some(id) => *id,
            None => {
                let id = self.free.pop().unwrap_or_else(|| {
                    self.sets.push(Holders::default());
                    HoldersId(self.sets.len() as u32 - 1)
                });
                self.sets[id.0 as usize].queues = queues.into();
                self.by_queues.insert(queues.into(), id);
                id
            }
        };
        self.sets[id.0 as usize].uses += 1;
        id
    }

    pub(super) fn queues(&self, id: HoldersId) -> &[QueueId] {
        &self.sets[id.0 as usize].queues
    }

    /// Gives back one use.
    pub(super) fn release(&mut self, id: HoldersId) {
        let set = &mut self.sets[id.0 as usize];
        set.uses -= 1;
        if set.uses == 0 {
            let queues = std::mem::take(&mut set.queues);
            self.by_queues.remove(&queues);
            self.free.push(id);
        }
    }

    /// Exchanges one use of a set for one of the set without a queue: `Err` when the queue is not in it, `Ok(None)` when
    /// nothing is left.
    pub(super) fn without(&mut self, id: HoldersId, queue: QueueId) -> Result<Option<HoldersId>, NotHeld> {
        let queues = self.queues(id);
        let at = queues.binary_search(&queue).map_err(|_| NotHeld)?;
        let left = if queues.len() == 1 {
            None
        } else {
            let mut rest = queues.to_vec();
            rest.remove(at);
            Some(self.acquire_sorted(&rest))
        };
        self.release(id);
        Ok(left)
    }

    /// The sets in use that a test finds.
    pub(super) fn matching(&self, test: impl Fn(&[QueueId]) -> bool) -> Vec<HoldersId> {
        let used = self.sets.iter().enumerate().filter(|(_, set)| set.uses > 0 && test(&set.queues));
        used.map(|(at, _)| HoldersId(at as u32)).collect()
    }
}

/// The queue does not hold the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHeld;
