//! How long a crawling client is waited for: `limits.min_rate`, as arithmetic without a clock.

use std::time::Duration;

use crate::config::settings::Limits;

/// The longest pause that bytes already moved can buy beyond the grace. Without it a client that once moved a gigabyte
/// could then hold its connection for weeks. Not shorter, because the kernel lets us see a slow reader's progress only in
/// steps of its send buffer, and because people pause a film.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A client's credit of waiting time: it starts with the grace, every byte moved buys `1 / min_rate` seconds, and time
/// spent waiting for the client is paid from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    credit: Duration,
    most: Duration,
    rate: u64,
}

impl Pace {
    /// The pace that the limits ask for; `None` when `min_rate` is 0.
    pub fn new(limits: &Limits) -> Option<Self> {
        (limits.min_rate > 0).then(|| Self {
            credit: limits.min_rate_grace,
            most: limits.min_rate_grace + LONGEST_PAUSE,
            rate: limits.min_rate,
        })
    }

    /// How long the client may stay silent from now.
    pub fn patience(&self) -> Duration {
        self.credit
    }

    /// Bytes moved.
    pub fn moved(&mut self, bytes: usize) {
        let bought = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.rate);
        self.credit = self.credit.saturating_add(bought).min(self.most);
    }

    /// Time passed in which the client was waited for.
    pub fn waited(&mut self, time: Duration) {
        self.credit = self.credit.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace {
            credit: Duration::from_secs(5),
            most: Duration::from_secs(305),
            rate: 240,
        }
    }

    #[test]
    fn a_silent_client_has_the_grace() {
        assert_eq!(pace().patience(), Duration::from_secs(5));
    }

    #[test]
    fn a_client_at_exactly_the_rate_never_runs_out() {
        let mut pace = pace();
        for _ in 0..1000 {
            pace.waited(Duration::from_secs(1));
            pace.moved(240);
        }
        assert_eq!(pace.patience(), Duration::from_secs(5));
    }

    #[test]
    fn a_client_at_half_the_rate_runs_out_after_twice_the_grace() {
        let mut pace = pace();
        for _ in 0..10 {
            pace.waited(Duration::from_secs(1));
            pace.moved(120);
        }
        assert!(pace.patience() < Duration::from_secs(1), "{pace:?}");
    }

    #[test]
    fn a_gigabyte_buys_no_more_than_five_minutes_of_silence() {
        let mut pace = pace();
        pace.moved(1 << 30);
        assert_eq!(pace.patience(), Duration::from_secs(305));
    }
}
