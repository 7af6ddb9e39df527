//! How far all windows of one end may grow together. Each body has its first window whatever happens;
//! what it gets beyond comes out of this, so that many fast bodies at once stay bounded.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes by which windows have grown beyond their first size, in all, at most.
const GROWTH: u64 = 16 * 1024 * 1024;

/// What is left for windows to grow by.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU64::new(GROWTH))
    }
}

impl Budget {
    /// Takes as much as is wanted, or nothing.
    pub(crate) fn take(&self, wanted: u64) -> u64 {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(wanted)
            });
        taken.map_or(0, |_| wanted)
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, taken: u64) {
        self.0.fetch_add(taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_until_it_is_given_back() {
        let budget = Budget::default();
        assert_eq!(budget.take(GROWTH - 1), GROWTH - 1);
        assert_eq!(budget.take(2), 0);
        assert_eq!(budget.take(1), 1);
        budget.give_back(2);
        assert_eq!(budget.take(2), 2);
    }
}
