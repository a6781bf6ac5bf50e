//! How many events a worker remembers in a second: under a flood each would push out the one before, and cost more than the
//! refusal itself.

use std::net::IpAddr;

/// In a second a worker fills at most so much of its room, the rest being spared for those who come with an id.
const SHARE: usize = 10;
/// But always so many: a small memory is a small one, not a slow one.
const LEAST: usize = 100;
/// One client takes no more of them than this.
const OF_ONE_CLIENT: u8 = 20;
/// Clients are told apart by so many marks; two with the same share what one may take.
const MARKS: usize = 256;

/// What was remembered in the second under way.
#[derive(Debug)]
pub(super) struct Pace {
    second: u64,
    events: usize,
    of_clients: [u8; MARKS],
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            second: 0,
            events: 0,
            of_clients: [0; MARKS],
        }
    }
}

impl Pace {
    /// Whether one more event of this client is remembered, of a memory with so much room. Counts it if so.
    pub(super) fn takes(&mut self, second: u64, client: IpAddr, room: usize) -> bool {
        if second != self.second {
            *self = Self {
                second,
                ..Self::default()
            };
        }
        if self.events >= (room / SHARE).max(LEAST) {
            return false;
        }
        let Some(of_client) = self.of_clients.get_mut(mark(client)) else {
            return false;
        };
        if *of_client >= OF_ONE_CLIENT {
            return false;
        }
        *of_client += 1;
        self.events += 1;
        true
    }
}

/// By the network of an IPv6 client, since one has as many addresses as it likes.
fn mark(client: IpAddr) -> usize {
    let number = match client {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    };
    // Multiplication spreads the bits upwards (Knuth, TAOCP 6.4).
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize % MARKS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, second: u64, clients: impl Iterator<Item = u32>) -> usize {
        let clients = clients.map(|bits| IpAddr::V4(bits.into()));
        clients.filter(|client| pace.takes(second, *client, 5000)).count()
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let mut pace = Pace::default();
        assert_eq!(
            taken(&mut pace, 7, std::iter::repeat_n(1, 1000)),
            usize::from(OF_ONE_CLIENT)
        );
        assert_eq!(taken(&mut pace, 7, std::iter::once(2)), 1);
        assert_eq!(
            taken(&mut pace, 7, 0..100_000),
            5000 / SHARE - usize::from(OF_ONE_CLIENT) - 1
        );
        assert_eq!(taken(&mut pace, 8, std::iter::repeat_n(1, 2)), 2);
    }
}
