//! Who may wait: a bound per client, so that a noisy one cannot take every place. Pure.

use std::net::IpAddr;

use super::counts::{Counts, Place};

/// A client: an IPv4 address, or the /64 of an IPv6 address, which is what one link has and a
/// single host may roam (RFC 7707, 4.1; RFC 8981).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// The whole address.
    V4(u32),
    /// Its first half.
    V6(u64),
}

impl Client {
    /// Whose address this is.
    pub fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self::V4(addr.to_bits()),
            IpAddr::V6(addr) => Self::V6((addr.to_bits() >> 64) as u64),
        }
    }
}

/// Counts who waits. An entry exists only while its client waits for something, so there are
/// never more entries than queries that wait.
#[derive(Debug)]
pub struct Admission {
    waiting: Counts<Client>,
    bound: u32,
    refused: u64,
}

impl Admission {
    /// At most `bound` queries of one client wait.
    pub fn new(bound: u32) -> Self {
        Self {
            waiting: Counts::default(),
            bound,
            refused: 0,
        }
    }

    /// Another bound, for those who come from now on.
    pub fn set_bound(&mut self, bound: u32) {
        self.bound = bound;
    }

    /// A place for a query of this client; None when it has too many.
    pub fn enter(&mut self, addr: IpAddr) -> Option<Place> {
        let place = self.waiting.enter(Client::of(addr), self.bound);
        self.refused += u64::from(place.is_none());
        place
    }

    /// A query waits no longer.
    pub fn leave(&mut self, place: Place) {
        self.waiting.leave(place);
    }

    /// Clients that wait for something.
    pub fn clients(&self) -> usize {
        self.waiting.len()
    }

    /// Queries that found no place.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_so_many_places_and_no_more() {
        let mut admission = Admission::new(2);
        let noisy = addr("192.0.2.1");
        let first = admission.enter(noisy).unwrap();
        let second = admission.enter(addr("::ffff:192.0.2.1")).unwrap();
        assert!(admission.enter(noisy).is_none(), "the same client");
        assert_eq!((admission.clients(), admission.refused()), (1, 1));
        let other = admission.enter(addr("192.0.2.2")).unwrap();
        assert_eq!(admission.clients(), 2);
        admission.leave(first);
        let again = admission.enter(noisy).unwrap();
        for place in [second, other, again] {
            admission.leave(place);
        }
        assert_eq!((admission.clients(), admission.refused()), (0, 1));
        admission.set_bound(0);
        assert!(admission.enter(noisy).is_none());
        assert_eq!(admission.clients(), 0, "who is refused leaves no entry");
    }

    #[test]
    fn a_link_of_ipv6_is_one_client() {
        let mut admission = Admission::new(1);
        let place = admission.enter(addr("2001:db8:0:1::1")).unwrap();
        assert!(admission.enter(addr("2001:db8:0:1:ffff::9")).is_none());
        let other = admission.enter(addr("2001:db8:0:2::1")).unwrap();
        admission.leave(place);
        admission.leave(other);
        assert!(admission.enter(addr("2001:db8:0:1:ffff::9")).is_some());
    }

    proptest! {
        #[test]
        fn the_books_are_right(
            bound in 0u32..5,
            steps in prop::collection::vec((0u8..6, any::<bool>()), 0..200),
        ) {
            let mut admission = Admission::new(bound);
            let mut places: Vec<(u8, Place)> = Vec::new();
            let mut refused = 0;
            for (client, enters) in steps {
                let own = places.iter().filter(|(other, _)| *other == client).count();
                if enters {
                    let place = admission.enter([10, 0, 0, client].into());
                    prop_assert_eq!(place.is_some(), own < bound as usize);
                    refused += u64::from(place.is_none());
                    places.extend(place.map(|place| (client, place)));
                } else if own > 0 {
                    let at = places.iter().position(|(other, _)| *other == client).unwrap();
                    admission.leave(places.swap_remove(at).1);
                }
                let mut clients: Vec<u8> = places.iter().map(|(client, _)| *client).collect();
                clients.sort();
                clients.dedup();
                prop_assert_eq!(admission.clients(), clients.len());
                prop_assert_eq!(admission.refused(), refused);
            }
        }
    }
}
