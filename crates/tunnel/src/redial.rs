//! When to dial again: pure policy, without a clock of its own.

use std::time::Duration;

use crate::{
    DialError, SessionEnd,
    ending::{CloseCode, EndReason},
};

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);
/// A session that lived so long was healthy: the next failure is the first again.
const HEALTHY: Duration = Duration::from_secs(60);
const SPREAD: Duration = Duration::from_secs(3);
/// A wait that the other side asks for is obeyed up to here.
const OBEYED: Duration = Duration::from_secs(300);
const DENIED_FIRST: Duration = Duration::from_secs(30);
const DENIED_LONGEST: Duration = Duration::from_secs(900);
/// Failures that a cut leaves counted at most.
const AFTER_A_CUT: u32 = 2;
const SUPERSEDED: Duration = Duration::from_secs(60);

/// How the last attempt ended, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No connection, or one that did not last.
    Failed,
    /// The credentials were refused: dialling soon again changes nothing.
    Denied,
    /// Another agent with this identity has taken the place.
    Superseded,
    /// A refusal said how long to wait.
    Asked(Duration),
    /// The other side stops, and said in good order how long to wait; redials are spread over the
    /// time after that.
    Goodbye {
        /// How long.
        wait: Duration,
        /// Over how long.
        spread: Duration,
    },
    /// A healthy session ended; redials are spread over this time.
    Healthy(Duration),
    /// A session that had been welcomed was cut from without, soon: the network is to blame, so the
    /// wait grows no further than this.
    Cut(Duration),
}

impl Outcome {
    /// What a failed dial means.
    pub fn of_dial(error: &DialError) -> Self {
        match error.refusal() {
            Some(refusal) => match (refusal.status, refusal.retry_after) {
                (401 | 403, _) => Self::Denied,
                (_, Some(wait)) => Self::Asked(wait),
                _ => Self::Failed,
            },
            None => Self::Failed,
        }
    }

    /// What the end of a session means.
    pub fn of_session(end: &SessionEnd) -> Self {
        match &end.reason {
            EndReason::ClosedByPeer { code, .. } => match code {
                CloseCode::Unauthenticated | CloseCode::Revoked => return Self::Denied,
                CloseCode::Superseded => return Self::Superseded,
                _ => {}
            },
            EndReason::ClosedHere { .. }
            | EndReason::Cut(_)
            | EndReason::Silent
            | EndReason::Violation(_)
            | EndReason::GreetingTooLate => {}
        }
        let spread = end.redial_spread.unwrap_or(SPREAD).min(OBEYED);
        if let Some(wait) = end.redial_after.filter(|wait| !wait.is_zero()) {
            return Self::Goodbye { wait, spread };
        }
        match end.reason {
            _ if !end.welcomed => Self::Failed,
            _ if end.lived >= HEALTHY => Self::Healthy(spread),
            EndReason::Cut(_) | EndReason::Silent => Self::Cut(spread),
            _ => Self::Failed,
        }
    }
}

/// Full jitter with a cap; the count of failures begins anew after a healthy session.
#[derive(Debug)]
pub struct Redial {
    failures: u32,
    denials: u32,
    random: u64,
}

impl Redial {
    /// Begins with no failures. `seed` makes the jitter; take it from the system's random numbers.
    pub fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            denials: 0,
            random: seed | 1,
        }
    }

    /// How long to wait before the next dial.
    pub fn after(&mut self, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Healthy(spread) => {
                (self.failures, self.denials) = (0, 0);
                self.between(Duration::ZERO, spread)
            }
            Outcome::Failed => {
                self.denials = 0;
                let ceiling = self.ceiling();
                self.between(SHORTEST, ceiling)
            }
            Outcome::Cut(spread) => {
                self.denials = 0;
                let ceiling = self.ceiling().min(spread.max(SHORTEST));
                // Somebody was there: what fails from now on is a new outage.
                self.failures = self.failures.min(AFTER_A_CUT);
                self.between(SHORTEST, ceiling)
            }
            Outcome::Denied => {
                let floor = DENIED_FIRST * (1 << self.denials.min(5));
                self.denials = self.denials.saturating_add(1);
                self.between(floor, floor * 2).min(DENIED_LONGEST)
            }
            Outcome::Superseded => self.between(SUPERSEDED, SUPERSEDED * 2),
            Outcome::Asked(wait) => {
                let wait = wait.min(OBEYED);
                self.between(wait, wait + SPREAD)
            }
            Outcome::Goodbye { wait, spread } => {
                (self.failures, self.denials) = (0, 0);
                let wait = wait.min(OBEYED);
                self.between(wait, wait + spread)
            }
        }
    }

    /// Whether this refusal of the credentials is the first at its step, and worth a line in the log.
    pub fn is_new_step(&self) -> bool {
        self.denials <= 6
    }

    /// Doubles with each failure.
    fn ceiling(&mut self) -> Duration {
        let ceiling = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling
    }

    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        // xorshift64*: jitter needs no cryptography.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let random = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        let fraction = random as f64 / (1u64 << 53) as f64;
        low + high.saturating_sub(low).mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(redial: &mut Redial, outcome: Outcome) -> f64 {
        redial.after(outcome).as_secs_f64()
    }

    #[test]
    fn failures_back_off_with_full_jitter_and_a_cap() {
        let mut redial = Redial::new(7);
        for failure in 0..20 {
            let ceiling = f64::from(1 << failure.min(6)).min(60.0);
            let wait = seconds(&mut redial, Outcome::Failed);
            assert!(
                (0.25..=ceiling.max(0.25)).contains(&wait),
                "{failure}: {wait}"
            );
        }
    }

    #[test]
    fn a_server_that_accepts_and_closes_at_once_still_sees_backing_off() {
        let end = SessionEnd {
            reason: EndReason::ClosedByPeer {
                code: CloseCode::Done,
                reason: String::new(),
            },
            lived: Duration::from_millis(5),
            welcomed: true,
            redial_after: None,
            redial_spread: None,
        };
        assert_eq!(Outcome::of_session(&end), Outcome::Failed);
    }

    /// C2: p95 of the way back stays within 3 s, however often the path was cut.
    #[test]
    fn cuts_do_not_add_up() {
        let mut redial = Redial::new(11);
        for _ in 0..100 {
            let wait = seconds(&mut redial, Outcome::Cut(SPREAD));
            assert!((0.25..=3.0).contains(&wait), "{wait}");
        }
    }

    /// A control plane that restarts is away for a moment. However often it does, that is short.
    #[test]
    fn outages_do_not_add_up() {
        let goodbye = Outcome::Goodbye {
            wait: Duration::from_secs(1),
            spread: SPREAD,
        };
        for (end, longest) in [(Outcome::Cut(SPREAD), 4.0), (goodbye, 1.0)] {
            let mut redial = Redial::new(13);
            for _ in 0..10 {
                redial.after(Outcome::Failed);
            }
            for _ in 0..100 {
                redial.after(end);
                let wait = seconds(&mut redial, Outcome::Failed);
                assert!(wait <= longest, "{wait} after {end:?}");
            }
        }
    }

    #[test]
    fn refused_credentials_wait_long_and_never_give_up() {
        let mut redial = Redial::new(9);
        let first = seconds(&mut redial, Outcome::Denied);
        assert!((30.0..=60.0).contains(&first));
        for _ in 0..20 {
            assert!(seconds(&mut redial, Outcome::Denied) <= 900.0);
        }
        assert_eq!(seconds(&mut redial, Outcome::Denied), 900.0);
    }

    #[test]
    fn a_fleet_is_spread_after_a_restart() {
        let spread = Duration::from_secs(10);
        let mut buckets = [0; 10];
        for agent in 1..=1000u64 {
            let mut redial = Redial::new(agent.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let wait = seconds(&mut redial, Outcome::Healthy(spread));
            buckets[(wait as usize).min(9)] += 1;
        }
        assert!(buckets.iter().all(|count| *count <= 150), "{buckets:?}");
    }

    #[test]
    fn what_the_other_side_asks_is_obeyed_up_to_five_minutes() {
        let mut redial = Redial::new(3);
        let wait = seconds(&mut redial, Outcome::Asked(Duration::from_secs(20)));
        assert!((20.0..=23.0).contains(&wait));
        let wait = seconds(&mut redial, Outcome::Asked(Duration::from_secs(9999)));
        assert!((300.0..=303.0).contains(&wait));
        assert!(seconds(&mut redial, Outcome::Superseded) >= 60.0);
    }

    /// C3: a control plane that stops in order says goodbye to its whole fleet at once.
    #[test]
    fn a_fleet_is_spread_after_a_goodbye() {
        let end = SessionEnd {
            reason: EndReason::ClosedByPeer {
                code: CloseCode::GoingAway,
                reason: String::new(),
            },
            lived: Duration::from_secs(5),
            welcomed: true,
            redial_after: Some(Duration::from_secs(1)),
            redial_spread: Some(Duration::from_secs(10)),
        };
        let mut buckets = [0; 10];
        for agent in 1..=1000u64 {
            let mut redial = Redial::new(agent.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let wait = seconds(&mut redial, Outcome::of_session(&end)) - 1.0;
            buckets[(wait as usize).min(9)] += 1;
        }
        assert!(buckets.iter().all(|count| *count <= 150), "{buckets:?}");
    }
}
