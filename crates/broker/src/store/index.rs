//! Where each message stands and which queues hold it: about 20 octets for each message.
//!
//! Messages are kept in groups of neighbouring ids, each a sorted vector, so that it makes no difference in which order
//! they come, in which segment they stand, and whether they were moved. Does not know files.

use std::collections::{BTreeMap, HashMap};

use super::holders::{HolderSets, HoldersId};
use crate::identity::{MessageId, QueueId};

/// Ids of one group: small enough that inserting in the middle moves little memory, large enough that the map of groups
/// is nothing beside them.
const GROUP_BITS: u32 = 9;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    /// The segment's number; 2^32 segments are more than any disk holds.
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Octets of the record.
    pub(super) octets: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The lowest bits of the id.
    low: u16,
    location: Location,
    holders: HoldersId,
}

/// All messages of one log that a queue holds.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: BTreeMap<u64, Group>,
    holders: HolderSets,
    messages: u64,
}

/// Slots in ascending order. What is gone is only marked, and swept when it is more than half, so that consuming from
/// the front does not move the rest each time.
#[derive(Debug, Default)]
struct Group {
    slots: Vec<Slot>,
    gone: u16,
}

/// Marks a slot whose message is gone: no location has no octets.
const GONE: u32 = 0;

impl Group {
    fn find(&mut self, low: u16) -> Result<&mut Slot, usize> {
        let at = self.slots.binary_search_by_key(&low, |slot| slot.low)?;
        let slot = &mut self.slots[at];
        if slot.location.octets == GONE { Err(at) } else { Ok(slot) }
    }

    fn insert(&mut self, slot: Slot, at: usize) {
        match self.slots.get_mut(at) {
            Some(old) if old.low == slot.low => {
                *old = slot;
                self.gone -= 1;
            }
            _ => self.slots.insert(at, slot),
        }
    }

    /// Sweeps if it is worth it; whether nothing is left.
    fn mark_gone(&mut self, count: usize) -> bool {
        self.gone += count as u16;
        if usize::from(self.gone) * 2 > self.slots.len() {
            self.slots.retain(|slot| slot.location.octets != GONE);
            self.slots.shrink_to(self.slots.len() * 2);
            self.gone = 0;
        }
        self.slots.is_empty()
    }
}

fn split(id: MessageId) -> (u64, u16) {
    (id.0 >> GROUP_BITS, (id.0 & ((1 << GROUP_BITS) - 1)) as u16)
}

impl Index {
    /// Messages in it.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Enters a message, in place of what was known of it; where that stood.
    pub(super) fn insert(&mut self, id: MessageId, queues: &[QueueId], location: Location) -> Option<Location> {
        let holders = self.holders.acquire(queues)?;
        let (group, low) = split(id);
        let group = self.groups.entry(group).or_default();
        match group.find(low) {
            Ok(slot) => {
                self.holders.release(slot.holders);
                slot.holders = holders;
                Some(std::mem::replace(&mut slot.location, location))
            }
            Err(at) => {
                group.insert(Slot { low, location, holders }, at);
                self.messages += 1;
                None
            }
        }
    }

    /// Where a message stands and who holds it.
    pub(super) fn get(&self, id: MessageId) -> Option<(Location, &[QueueId])> {
        let (group, low) = split(id);
        let slots = &self.groups.get(&group)?.slots;
        let slot = slots.binary_search_by_key(&low, |slot| slot.low).ok().and_then(|at| slots.get(at))?;
        (slot.location.octets != GONE).then(|| (slot.location, self.holders.queues(slot.holders)))
    }

    /// Takes one holder away; where the message stood if that was the last.
    pub(super) fn release(&mut self, id: MessageId, queue: QueueId) -> Option<Location> {
        let (number, low) = split(id);
        let group = self.groups.get_mut(&number)?;
        let slot = group.find(low).ok()?;
        match self.holders.without(slot.holders, queue).ok()? {
            Some(left) => {
                slot.holders = left;
                None
            }
            None => {
                let location = slot.location;
                slot.location.octets = GONE;
                self.messages -= 1;
                if group.mark_gone(1) {
                    self.groups.remove(&number);
                }
                Some(location)
            }
        }
    }

    /// Takes queues away from all messages; tells where messages stood that nobody holds any longer. Costs a walk over
    /// everything only if something is held by such a queue.
    pub(super) fn drop_queues(&mut self, dropped: impl Fn(QueueId) -> bool, mut freed: impl FnMut(Location)) {
        let any = |queues: &[QueueId]| queues.iter().any(|queue| dropped(*queue));
        let concerned = self.holders.matching(any);
        if concerned.is_empty() {
            return;
        }
        let left: HashMap<HoldersId, Vec<QueueId>> = concerned
            .into_iter()
            .map(|id| (id, self.holders.queues(id).iter().copied().filter(|queue| !dropped(*queue)).collect()))
            .collect();
        let (holders, messages) = (&mut self.holders, &mut self.messages);
        self.groups.retain(|_, group| {
            let mut gone = 0;
            for slot in group.slots.iter_mut().filter(|slot| slot.location.octets != GONE) {
                let Some(queues) = left.get(&slot.holders) else { continue };
                let before = slot.holders;
                match holders.acquire(queues) {
                    Some(now) => slot.holders = now,
                    None => {
                        freed(slot.location);
                        slot.location.octets = GONE;
                        gone += 1;
                    }
                }
                holders.release(before);
            }
            *messages -= gone as u64;
            !(gone > 0 && group.mark_gone(gone))
        });
    }
}
