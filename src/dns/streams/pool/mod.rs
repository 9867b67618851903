//! Which connection carries which query: opening, IDs, sending again, closing. Pure: no
//! socket, no clock. What it decides comes out as [`Effect`]s.
//!
//! A query waits at its target until a connection is up that has room, so whichever comes up
//! first takes it. IDs count up from a random one and are never used twice on a connection: a
//! late answer finds nothing. When a connection is closed with queries on it they wait again,
//! in front of those that came later.

mod books;
mod link;
mod place;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

pub use link::LinkId;
#[cfg(test)]
use link::MAX_QUERIES;
use link::{Link, Site, State};

use crate::dns::attempt::Fault;

/// Most connections to one address of one upstream, dials and retired ones included.
pub const MAX_PER_TARGET: usize = 4;

/// Most connections in all.
pub const MAX_LINKS: usize = 64;

/// Times a query is sent again when connections close that have answered nothing.
const MAX_UNANSWERED: u8 = 1;

/// Times a query is sent again in all. Its attempt ends after seconds; this keeps a server
/// that closes at once from keeping us busy until then.
const MAX_RESENDS: u8 = 32;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<A, T> {
    /// Open a connection and tell of [`Pool::moved`], [`Pool::connected`] or
    /// [`Pool::dial_failed`].
    Dial(LinkId, T),
    /// There is something for [`Pool::next_write`].
    Write(LinkId),
    /// The answer to this ID is not wanted any more.
    Cancel(LinkId, u16),
    /// Close it, or stop the dial; it is forgotten already.
    Close(LinkId),
    /// The query has no answer.
    Failed(A, Fault),
}

/// Connections and the queries on them. `A` names a query for ever, `T` is an upstream with an
/// address.
#[derive(Debug)]
pub struct Pool<A, T> {
    queries: HashMap<A, Query<T>>,
    links: HashMap<LinkId, Link<A, T>>,
    sites: HashMap<T, Site<A>>,
    effects: VecDeque<Effect<A, T>>,
    next_link: u64,
    next_query: u64,
    /// Not later than the next time that a waiting query may need another dial.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Query<T> {
    target: T,
    message: Vec<u8>,
    /// Order of arrival.
    number: u64,
    /// None while it waits for a connection.
    place: Option<Place>,
    /// Where it was sent before, when it was sent again: an answer is welcome from there, too.
    earlier: Option<Place>,
    unanswered: u8,
    resends: u8,
    /// How long connections of this target are kept.
    idle: Duration,
}

/// A connection and an ID on it.
type Place = (LinkId, u16);

impl<T> Query<T> {
    fn places(&self) -> impl Iterator<Item = Place> + use<T> {
        self.place.into_iter().chain(self.earlier)
    }
}

impl<A: Copy + Eq + Hash, T: Clone + Eq + Hash> Pool<A, T> {
    /// No connection.
    pub fn new() -> Self {
        Self {
            queries: HashMap::new(),
            links: HashMap::new(),
            sites: HashMap::new(),
            effects: VecDeque::new(),
            next_link: 0,
            next_query: 0,
            due: None,
        }
    }

    /// Connections and dials now, at most [`MAX_LINKS`].
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// What is to be done next, in order.
    pub fn next_effect(&mut self) -> Option<Effect<A, T>> {
        self.effects.pop_front()
    }

    /// A query is to be sent. Its connection, if a new one, is kept for `idle` without
    /// queries.
    pub fn send(&mut self, now: Instant, attempt: A, target: T, message: Vec<u8>, idle: Duration) {
        let number = self.next_query;
        self.next_query += 1;
        let query = Query {
            target: target.clone(),
            message,
            number,
            place: None,
            earlier: None,
            unanswered: 0,
            resends: 0,
            idle,
        };
        let twin = self.queries.insert(attempt, query);
        debug_assert!(twin.is_none(), "attempts have names of their own");
        let site = self.sites.entry(target.clone()).or_default();
        site.waiting.insert(number, attempt);
        self.settle(now, &target);
    }

    /// A query has waited for long: unless its connection has answered others since, it is sent
    /// by another one as well, and the first is used no more while it stays silent.
    pub fn send_again(&mut self, now: Instant, attempt: A) {
        let Some(query) = self.queries.get_mut(&attempt) else {
            return;
        };
        let Some((id, number)) = query.place else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let since = link.pending.get(&number).map(|pending| pending.since);
        if link.last_answer >= since {
            return;
        }
        link.suspect = true;
        let (target, order) = (query.target.clone(), query.number);
        query.place = None;
        let first = query.earlier.replace((id, number));
        self.release(first);
        self.site(&target).waiting.insert(order, attempt);
        self.settle(now, &target);
    }

    /// Whether a query is on its way.
    pub fn has(&self, attempt: A) -> bool {
        self.queries.contains_key(&attempt)
    }

    /// Nobody waits for this answer any more; `timed_out` when that is because none came.
    /// What answered nothing since the query was sent takes no further ones.
    pub fn end(&mut self, now: Instant, attempt: A, timed_out: bool) {
        let Some(query) = self.queries.remove(&attempt) else {
            return;
        };
        self.site(&query.target).waiting.remove(&query.number);
        for (id, number) in query.places() {
            let since = self.release(Some((id, number)));
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            link.active = now;
            link.retired |= timed_out && link.last_answer < since;
            self.settle_link(now, id);
        }
        self.forget(&query.target);
    }

    /// A dial got a step further.
    pub fn moved(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && !link.is_up()
        {
            link.state = State::Dialling { moved: now };
        }
    }

    /// A dial came up. `first_id` is a random number, `limit` how many queries may wait on it.
    pub fn connected(&mut self, now: Instant, id: LinkId, first_id: u16, limit: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.state = State::Up;
        (link.next_id, link.limit, link.active) = (first_id, limit, now);
        let target = link.target.clone();
        let site = self.site(&target);
        (site.hanging, site.failed) = (false, None);
        self.settle(now, &target);
        self.drop_dials(now, &target);
    }

    /// A dial failed. What waits at its target fails, unless another connection or dial is
    /// there for it.
    pub fn dial_failed(&mut self, now: Instant, id: LinkId, fault: Fault) {
        let Some(link) = self.remove(id) else { return };
        self.site(&link.target).failed = Some(now);
        if !self.has_hope(&link.target) {
            self.fail_waiting(now, &link.target, fault);
        }
        self.settle(now, &link.target);
    }

    /// The next query to be written on a connection: its ID there, and its message.
    pub fn next_write(&mut self, id: LinkId) -> Option<(u16, &[u8])> {
        let link = self.links.get_mut(&id)?;
        loop {
            let number = link.to_write.pop_front()?;
            // One that was given up before it was written is not there any more.
            if let Some(pending) = link.pending.get(&number) {
                let query = self.queries.get(&pending.attempt)?;
                return Some((number, &query.message));
            }
        }
    }

    /// An answer came. Who waited for it, and the first two bytes of its query; None when
    /// nobody does.
    pub fn answer(&mut self, now: Instant, id: LinkId, number: u16) -> Option<(A, [u8; 2])> {
        let link = self.links.get_mut(&id)?;
        let attempt = link.pending.remove(&number)?.attempt;
        link.answered += 1;
        link.heard(now);
        let (target, answered) = (link.target.clone(), link.answered);
        self.site(&target).widen(answered);
        let query = self.queries.remove(&attempt)?;
        self.leave(now, &query);
        self.settle_link(now, id);
        let first = query.message.first_chunk().copied().unwrap_or_default();
        Some((attempt, first))
    }

    /// The server answered a query with something that is no answer.
    pub fn failed(&mut self, now: Instant, id: LinkId, number: u16) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(pending) = link.pending.remove(&number) else {
            return;
        };
        link.heard(now);
        self.fail(now, pending.attempt, Fault::Remote);
        self.settle_link(now, id);
    }

    /// The server did nothing with a query, and it can be sent again: there were too many.
    pub fn refused(&mut self, now: Instant, id: LinkId, number: u16) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(pending) = link.pending.remove(&number) else {
            return;
        };
        link.limit = link.limit.min(link.pending.len().max(1));
        self.wait_again(now, pending.attempt, (id, number), true);
        self.settle_link(now, id);
    }

    /// How many queries may wait on a connection.
    pub fn set_limit(&mut self, now: Instant, id: LinkId, limit: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.limit != limit {
            link.limit = limit;
            self.settle_link(now, id);
        }
    }

    /// A connection takes no new queries, and ends with its last one.
    pub fn retire(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.retired = true;
            self.settle_link(now, id);
        }
    }

    /// A connection was closed by the server, or broke. Its queries are sent again: once if it
    /// had answered nothing, freely otherwise, as then there is progress.
    pub fn closed(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.remove(id) else { return };
        if !link.pending.is_empty() && !link.suspect {
            self.site(&link.target).narrow(link.answered);
        }
        self.all_wait_again(now, id, link.pending, link.answered > 0);
        self.settle(now, &link.target);
    }

    /// When [`Self::tick`] has something to do though nothing happens.
    pub fn next_due(&self) -> Option<Instant> {
        self.due
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let sites = self.sites.iter();
        let waiting: Vec<T> = sites
            .filter(|(_, site)| !site.waiting.is_empty())
            .map(|(target, _)| target.clone())
            .collect();
        waiting.iter().for_each(|target| self.settle(now, target));
    }

    /// Closes connections that were idle for long.
    pub fn sweep(&mut self, now: Instant) {
        let links = self.links.iter();
        let quiet = |link: &Link<A, T>| now.saturating_duration_since(link.active) >= link.idle;
        let old: Vec<LinkId> = links
            .filter(|(_, link)| link.is_idle() && quiet(link))
            .map(|(id, _)| *id)
            .collect();
        old.into_iter().for_each(|id| self.close(now, id));
    }

    /// Connections to such targets take no new queries, and dials are not used.
    pub fn retire_all(&mut self, now: Instant, which: impl Fn(&T) -> bool) {
        let links = self.links.iter();
        let ids: Vec<LinkId> = links
            .filter(|(_, link)| which(&link.target))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            match self.links.get(&id).is_some_and(Link::is_up) {
                true => self.retire(now, id),
                false => {
                    let target = self.links.get(&id).map(|link| link.target.clone());
                    self.close(now, id);
                    target.iter().for_each(|target| self.settle(now, target));
                }
            }
        }
    }

    /// Targets with queries or connections.
    pub fn targets(&self) -> impl Iterator<Item = &T> {
        self.sites.keys()
    }
}
