//! Slows down whoever keeps presenting wrong tokens, by address. Valid tokens are never slowed.
//!
//! Pure policy: who asks sleeps.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Wrong tokens that an address may present at once before it is slowed.
const FREE: f64 = 10.0;
/// How many are forgiven each second.
const FORGIVEN: f64 = 0.5;
const FIRST_DELAY: Duration = Duration::from_millis(125);
const MAX_DELAY: Duration = Duration::from_secs(2);
/// Addresses that are remembered, at most.
const ADDRESSES: usize = 4096;

/// Who presented wrong tokens lately.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_address: HashMap<IpAddr, Account>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    wrong: f64,
    at: Instant,
}

impl Account {
    fn left(self, now: Instant) -> f64 {
        let forgiven = now.saturating_duration_since(self.at).as_secs_f64() * FORGIVEN;
        (self.wrong - forgiven).max(0.0)
    }
}

impl Refusals {
    /// Counts a wrong token and says how long its refusal should wait.
    pub(super) fn count(&mut self, address: IpAddr, now: Instant) -> Duration {
        let key = network(address);
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&key) {
            self.by_address.retain(|_, account| account.left(now) > 0.0);
            if self.by_address.len() >= ADDRESSES {
                // Many addresses at it at once: all that are new share the longest delay.
                return MAX_DELAY;
            }
        }
        let account = self.by_address.entry(key).or_insert(Account {
            wrong: 0.0,
            at: now,
        });
        account.wrong = account.left(now) + 1.0;
        account.at = now;
        let beyond = account.wrong - FREE;
        if beyond <= 0.0 {
            return Duration::ZERO;
        }
        FIRST_DELAY.mul_f64(beyond.min(8.0).exp2()).min(MAX_DELAY)
    }
}

/// An IPv6 caller owns a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn an_address_is_slowed_more_and_more_and_forgiven_in_time() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(refusals.count(ONE, now), Duration::ZERO);
        }
        let first = refusals.count(ONE, now);
        let second = refusals.count(ONE, now);
        assert!(Duration::ZERO < first && first < second);
        for _ in 0..100 {
            assert!(refusals.count(ONE, now) <= MAX_DELAY);
        }
        let later = now + Duration::from_secs(600);
        assert_eq!(refusals.count(ONE, later), Duration::ZERO);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        for address in 0..20_000u32 {
            refusals.count(IpAddr::V4(address.into()), now);
        }
        assert_eq!(refusals.by_address.len(), ADDRESSES);
        assert_eq!(refusals.count(IpAddr::V4(u32::MAX.into()), now), MAX_DELAY);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        for host in 0..11u128 {
            refusals.count(
                IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host)),
                now,
            );
        }
        assert_eq!(refusals.by_address.len(), 1);
    }
}
