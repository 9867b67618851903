//! Answers kept for as long as they say, and for a while longer for bad times, bounded by
//! bytes. Pure.

mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Instant;

use self::table::{Entry, Table};
use super::upstream::Server;
use super::wire::{Question, Stored, rcode};

/// Bits of [`Key::flags`].
pub const DNSSEC_OK: u8 = 1;
/// Checking disabled.
pub const CHECKING_DISABLED: u8 = 2;

/// After a refresh that failed, those who ask get the stale answer at once for so many seconds
/// (RFC 8767, 5: failure recheck timer).
pub const FAILURE_RECHECK: u32 = 30;

/// Answers that live shorter are not worth a prefetch, seconds.
const PREFETCH_LIFE: u32 = 10;

/// An answer is hot when it was used so often.
const HOT: u8 = 2;

/// What an answer depends on. A question decides by the rules who may be asked, so only an
/// `asis` answer needs its server told.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Name (lower case), type and class.
    pub question: &'a [u8],
    /// [`DNSSEC_OK`], [`CHECKING_DISABLED`].
    pub flags: u8,
}

impl<'a> Key<'a> {
    /// The key of a question.
    pub fn new<B: AsRef<[u8]>>(question: &'a Question<B>, dnssec_ok: bool, cd: bool) -> Self {
        let dnssec_ok = if dnssec_ok { DNSSEC_OK } else { 0 };
        let cd = if cd { CHECKING_DISABLED } else { 0 };
        Self {
            question: question.as_bytes(),
            flags: dnssec_ok | cd,
        }
    }
}

/// Answers, the least recently used of which leaves first.
pub struct Cache {
    table: Table,
    /// Seconds that an answer may be used after its life.
    serve_stale: u32,
    counters: Counters,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Queries answered with an answer that lived.
    pub hits: u64,
    /// Answers stored.
    pub stored: u64,
    /// Living answers that had to leave, for want of room.
    pub evicted: u64,
}

/// What is known of a question.
#[derive(Debug)]
pub enum Found<'a> {
    /// An answer that lives.
    Fresh {
        /// Its bytes.
        stored: &'a Stored,
        /// Whole seconds since it came, less than its life.
        age: u32,
        /// It is hot and will die soon: ask for it again. Said once in its life.
        prefetch: bool,
    },
    /// An answer that has died, and is better than none (RFC 8767).
    Stale {
        /// Its bytes.
        stored: &'a Stored,
        /// Asking again has failed a moment ago: nobody is to wait for it.
        at_once: bool,
    },
}

impl Cache {
    /// A cache of at most `bound` bytes, all counted; answers may be used for `serve_stale`
    /// seconds after their life.
    pub fn new(bound: usize, serve_stale: u32) -> Self {
        Self {
            table: Table::new(bound),
            serve_stale,
            counters: Counters::default(),
        }
    }

    /// Takes over other settings; what still fits stays.
    pub fn reconfigure(&mut self, bound: usize, serve_stale: u32) {
        self.serve_stale = serve_stale;
        if bound != self.table.bound() {
            let table = std::mem::replace(&mut self.table, Table::new(0));
            self.table = table.resized(bound);
        }
    }

    /// Answers held, dead ones included.
    pub fn entries(&self) -> usize {
        self.table.entries()
    }

    /// Bytes in use, the empty tables included.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The answer to a question: an upstream's, or that of the server asked.
    pub fn lookup(
        &mut self,
        now: Instant,
        key: Key<'_>,
        asked: Option<SocketAddr>,
    ) -> Option<Found<'_>> {
        let at = self.find(key, asked)?;
        self.table.touch(at);
        let entry = self.table.get(at)?;
        let age = entry.age(now);
        if age < entry.life {
            self.counters.hits += 1;
            let prefetch = entry.is_due(age);
            let stored = &entry.stored;
            return Some(Found::Fresh {
                stored,
                age,
                prefetch,
            });
        }
        // One that is too old even for that makes room when a new one comes.
        entry
            .is_usable(age, self.serve_stale)
            .then_some(Found::Stale {
                stored: &entry.stored,
                at_once: age < entry.mark,
            })
    }

    /// Keeps an answer for `life` seconds in place of earlier ones to the same question. An
    /// error does not displace an answer that may still be used: it is a refresh that failed.
    pub fn insert(
        &mut self,
        now: Instant,
        key: Key<'_>,
        server: Server,
        stored: Stored,
        life: u32,
    ) {
        let hash = self.table.hash(key);
        while let Some(old) = self.table.find(hash, key, |other| replaces(server, other)) {
            if !says_something(&stored)
                && let Some(entry) = self.table.get(old)
                && entry.is_usable(entry.age(now), self.serve_stale)
            {
                entry.refresh_failed(now);
                return;
            }
            self.table.remove(old);
        }
        let prefetch = if life < PREFETCH_LIFE { 0 } else { life / 10 };
        let entry = Entry {
            stored,
            flags: key.flags,
            hits: 0,
            server,
            since: now,
            life,
            mark: life - prefetch,
        };
        let counters = &mut self.counters;
        let kept = self.table.insert(hash, entry, |old| {
            counters.evicted += u64::from(old.age(now) < old.life);
        });
        self.counters.stored += u64::from(kept);
    }

    /// Nobody gave a better answer to a question: for [`FAILURE_RECHECK`] seconds the stale one
    /// is given at once.
    pub fn refresh_failed(&mut self, now: Instant, key: Key<'_>, asked: Option<SocketAddr>) {
        if let Some(at) = self.find(key, asked)
            && let Some(entry) = self.table.get(at)
        {
            entry.refresh_failed(now);
        }
    }

    /// Carries the answers over to another configuration: `server` is asked for every one, with
    /// its question, its server and [`Key::flags`], which server it belongs to from now on;
    /// None: it leaves.
    pub fn retain(
        &mut self,
        mut server: impl FnMut(Question<&[u8]>, Server, u8) -> Option<Server>,
    ) {
        for at in self.table.places() {
            let Some(entry) = self.table.get(at) else {
                continue;
            };
            match server(entry.stored.question(), entry.server, entry.flags) {
                Some(server) => entry.server = server,
                None => drop(self.table.remove(at)),
            }
        }
    }

    fn find(&self, key: Key<'_>, asked: Option<SocketAddr>) -> Option<u32> {
        let hash = self.table.hash(key);
        self.table.find(hash, key, |server| match server {
            Server::Upstream(_) => true,
            Server::AsIs(server) => asked == Some(server),
        })
    }
}

impl Entry {
    /// Whole seconds. An age of weeks needs no exact number.
    fn age(&self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.since).as_secs();
        age.min(u32::MAX.into()) as u32
    }

    /// Counts a use of a living answer; true when it is to be asked for again.
    fn is_due(&mut self, age: u32) -> bool {
        self.hits = self.hits.saturating_add(1);
        let due = age >= self.mark && self.hits >= HOT;
        if due {
            self.mark = self.life;
        }
        due
    }

    /// Whether it may be used at this age, if there is no better one.
    fn is_usable(&self, age: u32, serve_stale: u32) -> bool {
        let over = age.checked_sub(self.life);
        over.is_none_or(|over| over < serve_stale && says_something(&self.stored))
    }

    fn refresh_failed(&mut self, now: Instant) {
        let until = self.age(now).saturating_add(FAILURE_RECHECK);
        self.mark = until.max(self.life);
    }
}

/// Whether an answer of `new` takes the place of one of `old`: whoever of the upstreams answers
/// a question, it is the same answer.
fn replaces(new: Server, old: Server) -> bool {
    match (new, old) {
        (Server::Upstream(_), Server::Upstream(_)) => true,
        (Server::AsIs(new), Server::AsIs(old)) => new == old,
        _ => false,
    }
}

/// Whether a message tells of records or of their absence, and not of a failure.
fn says_something(stored: &Stored) -> bool {
    matches!(stored.rcode(), rcode::NOERROR | rcode::NXDOMAIN)
}
