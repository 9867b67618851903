//! Queries and connections come on the books, change places and leave. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use super::link::{Link, LinkId, Pending, Site};
use super::{Effect, MAX_RESENDS, MAX_UNANSWERED, Place, Pool, Query};
use crate::dns::attempt::Fault;

impl<A: Copy + Eq + Hash, T: Clone + Eq + Hash> Pool<A, T> {
    /// The site of a target that has queries or connections, or had until now.
    pub(super) fn site(&mut self, target: &T) -> &mut Site<A> {
        self.sites.entry(target.clone()).or_default()
    }

    /// A site without queries and connections is not kept.
    pub(super) fn forget(&mut self, target: &T) {
        let site = self.sites.get(target);
        if site.is_some_and(|site| site.waiting.is_empty() && site.links.is_empty()) {
            self.sites.remove(target);
        }
    }

    pub(super) fn fail(&mut self, now: Instant, attempt: A, fault: Fault) {
        if let Some(query) = self.queries.remove(&attempt) {
            self.effects.push_back(Effect::Failed(attempt, fault));
            self.leave(now, &query);
        }
    }

    /// What waits at a target fails, unless it waits elsewhere for an answer, too.
    pub(super) fn fail_waiting(&mut self, now: Instant, target: &T, fault: Fault) {
        let waiting = std::mem::take(&mut self.site(target).waiting);
        for attempt in waiting.into_values() {
            if !self.fall_back(attempt) {
                self.fail(now, attempt, fault);
            }
        }
    }

    /// A query that was to be sent again stays where it was first; false when it was nowhere.
    pub(super) fn fall_back(&mut self, attempt: A) -> bool {
        let Some(query) = self.queries.get_mut(&attempt) else {
            return false;
        };
        query.place = query.earlier.take();
        query.place.is_some()
    }

    /// A query that is off the books leaves the queue and the connections it was on.
    pub(super) fn leave(&mut self, now: Instant, query: &Query<T>) {
        self.site(&query.target).waiting.remove(&query.number);
        for (id, number) in query.places() {
            if self.release(Some((id, number))).is_some() {
                self.settle_link(now, id);
            }
        }
    }

    /// Takes a query off a connection; since when it was there.
    pub(super) fn release(&mut self, place: Option<Place>) -> Option<Instant> {
        let (id, number) = place?;
        let pending = self.links.get_mut(&id)?.pending.remove(&number)?;
        self.effects.push_back(Effect::Cancel(id, number));
        Some(pending.since)
    }

    /// Queries lost their connection, which had answered others when there is `progress`.
    pub(super) fn all_wait_again(
        &mut self,
        now: Instant,
        id: LinkId,
        pending: HashMap<u16, Pending<A>>,
        progress: bool,
    ) {
        let all = pending.into_iter();
        let mut all: Vec<_> = all
            .map(|(number, pending)| (number, pending.attempt))
            .collect();
        all.sort_by_key(|(_, attempt)| self.queries.get(attempt).map(|query| query.number));
        for (number, attempt) in all {
            self.wait_again(now, attempt, (id, number), progress);
        }
    }

    /// A query lost one of its places.
    pub(super) fn wait_again(&mut self, now: Instant, attempt: A, place: Place, progress: bool) {
        let Some(query) = self.queries.get_mut(&attempt) else {
            return;
        };
        if query.earlier == Some(place) {
            query.earlier = None;
            return;
        }
        query.place = None;
        query.resends += 1;
        query.unanswered += u8::from(!progress);
        if query.unanswered > MAX_UNANSWERED || query.resends > MAX_RESENDS {
            if !self.fall_back(attempt) {
                self.fail(now, attempt, Fault::Remote);
            }
            return;
        }
        let (target, number) = (query.target.clone(), query.number);
        self.site(&target).waiting.insert(number, attempt);
    }

    /// After something changed on a connection.
    pub(super) fn settle_link(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let target = link.target.clone();
        if link.is_idle() && !link.is_usable() {
            self.close(now, id);
        }
        self.settle(now, &target);
    }

    /// Takes a connection off the books.
    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link<A, T>> {
        let link = self.links.remove(&id)?;
        self.site(&link.target).links.retain(|other| *other != id);
        Some(link)
    }

    /// Closes a connection or dial of our own accord; what waits on it waits for another.
    pub(super) fn close(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.remove(id) else { return };
        self.effects.push_back(Effect::Close(id));
        self.all_wait_again(now, id, link.pending, link.answered > 0);
        self.forget(&link.target);
    }

    /// Puts a query on a connection.
    pub(super) fn place(&mut self, now: Instant, attempt: A, id: LinkId) {
        let (Some(link), Some(query)) = (self.links.get_mut(&id), self.queries.get_mut(&attempt))
        else {
            return;
        };
        let number = link.next_id;
        link.next_id = number.wrapping_add(1);
        link.carried += 1;
        link.active = now;
        let since = now;
        link.pending.insert(number, Pending { attempt, since });
        link.to_write.push_back(number);
        query.place = Some((id, number));
        if link.to_write.len() == 1 {
            self.effects.push_back(Effect::Write(id));
        }
    }
}
