//! A sum of what many hold, each of whom knows its own share of it.
//!
//! Does not know what is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedSum(Arc<AtomicUsize>);

/// The share of one holder; it leaves the sum when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    sum: SharedSum,
    held: usize,
}

impl SharedSum {
    /// A share of nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { sum: self.clone(), held: 0 }
    }
}

impl Share {
    /// What is counted of this holder.
    pub(crate) fn get(&self) -> usize {
        self.held
    }

    /// Changes the share, and gives the sum. Touches nothing that others see while the share stays the same.
    pub(crate) fn set(&mut self, held: usize) -> usize {
        let before = std::mem::replace(&mut self.held, held);
        if held == before {
            return self.sum.0.load(Ordering::Relaxed);
        }
        // Wraps for what becomes less, and so subtracts.
        let change = held.wrapping_sub(before);
        self.sum.0.fetch_add(change, Ordering::Relaxed).wrapping_add(change)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_leave() {
        let sum = SharedSum::default();
        let (mut first, mut second) = (sum.share(), sum.share());
        assert_eq!((first.set(5), second.set(7), first.set(2), first.set(2)), (5, 12, 9, 9));
        drop(first);
        assert_eq!(second.set(7), 7);
        drop(second);
        assert_eq!(sum.share().set(0), 0);
    }
}
