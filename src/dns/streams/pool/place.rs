//! Which connection takes the next query, and when another is opened. Pure.

use std::hash::Hash;
use std::time::Instant;

use super::link::{BUSY, Link, LinkId, PAUSE, Site};
use super::{Effect, MAX_LINKS, MAX_PER_TARGET, Pool};
use crate::dns::attempt::Fault;

/// Dials that are left alone however long they show nothing; of further ones the older makes
/// way for a fresh one. So a far server has its time, and one that is back has a fresh dial.
const PATIENT: usize = 2;

impl<A: Copy + Eq + Hash, T: Clone + Eq + Hash> Pool<A, T> {
    /// Puts waiting queries on connections, and opens another connection if it is needed.
    pub(super) fn settle(&mut self, now: Instant, target: &T) {
        let mut next = 0;
        while let Some((number, attempt)) = self.waiting_from(target, next) {
            next = number + 1;
            let sent_before = self
                .queries
                .get(&attempt)
                .is_some_and(|q| q.earlier.is_some());
            if let Some(id) = self.choose(target, sent_before) {
                self.site(target).waiting.remove(&number);
                self.place(now, attempt, id);
            } else if !sent_before {
                break;
            }
        }
        while self.needs_dial(now, target) {
            if !self.make_room(now, target) {
                if !self.has_hope(target) {
                    self.fail_waiting(now, target, Fault::Local);
                }
                break;
            }
            self.dial(now, target);
        }
        self.set_due(now, target);
        self.forget(target);
    }

    /// The first query that waits at a target, of those with this number or a higher one.
    fn waiting_from(&self, target: &T, number: u64) -> Option<(u64, A)> {
        let mut waiting = self.sites.get(target)?.waiting.range(number..);
        waiting.next().map(|(number, attempt)| (*number, *attempt))
    }

    /// The connections and dials of a target, oldest first.
    fn links_of(&self, target: &T) -> impl Iterator<Item = (LinkId, &Link<A, T>)> {
        let ids = self.sites.get(target).map_or(&[][..], |site| &site.links);
        ids.iter().filter_map(|id| Some((*id, self.links.get(id)?)))
    }

    /// Whom a query goes to: the oldest connection that is not busy, so that further ones fall
    /// idle after a burst; else the least busy one. A suspect one only when there is no other,
    /// and never for a query that was `sent_before`.
    fn choose(&self, target: &T, sent_before: bool) -> Option<LinkId> {
        let window = self.sites.get(target)?.window;
        let best = |suspect: bool| {
            let able = || {
                let links = self.links_of(target);
                links.filter(move |(_, link)| link.has_room(window) && link.suspect == suspect)
            };
            let free = able().find(|(_, link)| link.pending.len() < BUSY);
            free.or_else(|| able().min_by_key(|(_, link)| link.pending.len()))
        };
        let chosen = best(false).or_else(|| best(true).filter(|_| !sent_before));
        chosen.map(|(id, _)| id)
    }

    /// Whether what waits at a target may still get a connection.
    pub(super) fn has_hope(&self, target: &T) -> bool {
        self.links_of(target)
            .any(|(_, link)| !link.is_up() || link.is_usable())
    }

    fn needs_dial(&self, now: Instant, target: &T) -> bool {
        let Some(site) = self.sites.get(target) else {
            return false;
        };
        let hopeful = self.hopeful(now, site);
        if site.waiting.is_empty() {
            let usable = || self.links_of(target).filter(|(_, link)| link.is_usable());
            let busy = usable().all(|(_, link)| link.pending.len() >= BUSY);
            return hopeful == 0
                && usable().next().is_some()
                && busy
                && site.links.len() < MAX_PER_TARGET;
        }
        let paused = site.failed.is_some_and(|failed| now < failed + PAUSE);
        if paused && !site.links.is_empty() {
            return false;
        }
        hopeful < site.waiting.len().div_ceil(site.share())
    }

    /// Dials that showed something new not long ago.
    fn hopeful(&self, now: Instant, site: &Site<A>) -> usize {
        let links = site.links.iter().filter_map(|id| self.links.get(id));
        let moved = links.filter_map(Link::moved);
        moved
            .filter(|moved| now.saturating_duration_since(*moved) < site.patience())
            .count()
    }

    /// Makes room for one more connection to a target; false when there is none.
    fn make_room(&mut self, now: Instant, target: &T) -> bool {
        let site = self.site(target);
        if site.links.len() >= MAX_PER_TARGET {
            let Some(id) = self.weakest(now, target) else {
                return false;
            };
            self.close(now, id);
        }
        if self.links.len() >= MAX_LINKS {
            let idle = self.links.iter().filter(|(_, link)| link.is_idle());
            let Some(id) = idle.min_by_key(|(_, link)| link.active).map(|(id, _)| *id) else {
                return false;
            };
            self.close(now, id);
        }
        true
    }

    /// The connection of a target that is least missed, if any is of little use: a retired one,
    /// a suspect one, then a dial that hangs.
    fn weakest(&self, now: Instant, target: &T) -> Option<LinkId> {
        let retired = |link: &Link<A, T>| link.is_up() && !link.is_usable();
        let mut links = self.links_of(target);
        let found = links.find(|(_, link)| retired(link));
        if let Some((id, _)) = found.or_else(|| self.links_of(target).find(|(_, l)| l.suspect)) {
            return Some(id);
        }
        let patience = self.sites.get(target)?.patience();
        let dials = self.links_of(target).filter(|(_, link)| !link.is_up());
        dials
            .skip(PATIENT)
            .find(|(_, link)| {
                let quiet = |moved| now.saturating_duration_since(moved) >= patience;
                link.moved().is_some_and(quiet)
            })
            .map(|(id, _)| id)
    }

    fn dial(&mut self, now: Instant, target: &T) {
        let first = self.waiting_from(target, 0);
        let query = first.and_then(|(_, attempt)| self.queries.get(&attempt));
        let known = self.links_of(target).next().map(|(_, link)| link.idle);
        let Some(idle) = query.map(|query| query.idle).or(known) else {
            return;
        };
        let hangs = self.links_of(target).any(|(_, link)| !link.is_up())
            && self
                .sites
                .get(target)
                .is_some_and(|site| self.hopeful(now, site) == 0);
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.links
            .insert(id, Link::dialling(target.clone(), now, idle));
        let site = self.site(target);
        site.links.push(id);
        site.hanging |= hangs;
        self.effects.push_back(Effect::Dial(id, target.clone()));
    }

    /// Dials that nobody needs any more, as another came up and is not busy, are stopped.
    pub(super) fn drop_dials(&mut self, now: Instant, target: &T) {
        let served = self
            .sites
            .get(target)
            .is_none_or(|site| site.waiting.is_empty());
        let calm =
            |link: &Link<A, T>| link.is_usable() && !link.suspect && link.pending.len() < BUSY;
        if !served || !self.links_of(target).any(|(_, link)| calm(link)) {
            return;
        }
        let dials = self.links_of(target).filter(|(_, link)| !link.is_up());
        let dials: Vec<LinkId> = dials.map(|(id, _)| id).collect();
        dials.into_iter().for_each(|id| self.close(now, id));
    }

    /// Notes when a waiting query may need another dial.
    fn set_due(&mut self, now: Instant, target: &T) {
        let Some(site) = self.sites.get(target) else {
            return;
        };
        if site.waiting.is_empty() {
            return;
        }
        let moved = self.links_of(target).filter_map(|(_, link)| link.moved());
        let pause = site.failed.map(|failed| failed + PAUSE);
        let times = moved.map(|moved| moved + site.patience()).chain(pause);
        let next = times.filter(|at| *at > now).min();
        self.due = [self.due, next].into_iter().flatten().min();
    }
}
