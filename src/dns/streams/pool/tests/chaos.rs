//! Anything in any order, against what must always hold.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Op {
    Send(u8),
    Connect(usize),
    FailDial(usize, bool),
    Answer(usize, usize),
    Refuse(usize, usize),
    Close(usize),
    Retire(usize),
    Limit(usize, usize),
    End(usize, bool),
    Again(usize),
    Wait(u64),
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..3).prop_map(Op::Send),
        4 => (0usize..4).prop_map(Op::Connect),
        1 => (0usize..4, any::<bool>()).prop_map(|(at, local)| Op::FailDial(at, local)),
        8 => (0usize..8, 0usize..80).prop_map(|(link, at)| Op::Answer(link, at)),
        1 => (0usize..8, 0usize..80).prop_map(|(link, at)| Op::Refuse(link, at)),
        2 => (0usize..8).prop_map(Op::Close),
        1 => (0usize..8).prop_map(Op::Retire),
        1 => (0usize..8, 0usize..9).prop_map(|(link, limit)| Op::Limit(link, limit)),
        2 => (0usize..80, any::<bool>()).prop_map(|(at, late)| Op::End(at, late)),
        2 => (0usize..80).prop_map(Op::Again),
        2 => (0u64..1500).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
    ]
}

fn pick<T: Copy>(list: &[T], at: usize) -> Option<T> {
    list.get(at % list.len().max(1)).copied()
}

impl World {
    /// Does one thing; `live` are the attempts that have no end yet, `next` is a new one.
    fn apply(&mut self, op: Op, live: &mut Vec<u32>, next: u32) {
        match op {
            Op::Send(target) => {
                // Often more than one, so that connections are busy.
                for attempt in next..next + 20 {
                    live.push(attempt);
                    self.pool
                        .send(self.now, attempt, target, message(attempt), IDLE);
                }
            }
            Op::Connect(at) if at < self.dialling.len() => drop(self.connect(at)),
            Op::FailDial(at, local) if at < self.dialling.len() => {
                self.fail_dial(at, if local { Fault::Local } else { Fault::Remote });
            }
            Op::Answer(link, at) | Op::Refuse(link, at) => {
                let Some(id) = pick(&self.up, link) else {
                    return;
                };
                let written = self.written.get(&id).map_or(&[][..], Vec::as_slice);
                let Some((number, _)) = pick(written, at) else {
                    return;
                };
                if matches!(op, Op::Refuse(..)) {
                    self.pool.refused(self.now, id, number);
                } else if let Some((attempt, _)) = self.pool.answer(self.now, id, number) {
                    self.answered.push(attempt);
                }
            }
            Op::Close(link) => {
                if let Some(id) = pick(&self.up, link) {
                    self.close(id);
                }
            }
            Op::Retire(link) => {
                if let Some(id) = pick(&self.up, link) {
                    self.pool.retire(self.now, id);
                }
            }
            Op::Limit(link, limit) => {
                if let Some(id) = pick(&self.up, link) {
                    self.pool.set_limit(self.now, id, limit);
                }
            }
            Op::End(at, late) => {
                if let Some(attempt) = pick(live, at) {
                    self.end(attempt, late);
                    live.retain(|other| *other != attempt);
                }
            }
            Op::Again(at) => {
                if let Some(attempt) = pick(live, at) {
                    self.again(attempt);
                }
            }
            Op::Wait(time) => self.wait(time),
            Op::Sweep => self.pool.sweep(self.now),
            Op::Connect(_) | Op::FailDial(..) => {}
        }
        self.carry_out();
    }

    fn check(&self, live: &[u32]) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.pool.queries.len(), live.len());
        prop_assert!(self.pool.len() <= MAX_LINKS);
        prop_assert_eq!(self.pool.len(), self.up.len() + self.dialling.len());
        for site in self.pool.sites.values() {
            prop_assert!(site.links.len() <= MAX_PER_TARGET);
            prop_assert!(
                !site.links.is_empty(),
                "a site has connections, or is no more"
            );
        }
        let waiting: usize = self
            .pool
            .sites
            .values()
            .map(|site| site.waiting.len())
            .sum();
        let pending: usize = self
            .pool
            .links
            .values()
            .map(|link| link.pending.len())
            .sum();
        let queries = self.pool.queries.values();
        let placed: usize = queries.clone().map(|query| query.places().count()).sum();
        prop_assert_eq!(pending, placed);
        prop_assert_eq!(
            waiting,
            queries.filter(|query| query.place.is_none()).count()
        );
        for written in self.written.values() {
            let numbers: HashSet<_> = written.iter().map(|(number, _)| number).collect();
            prop_assert_eq!(numbers.len(), written.len(), "an ID was used twice");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_query_ends_once_and_nothing_grows(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        let mut live = Vec::new();
        for (number, op) in ops.into_iter().enumerate() {
            world.apply(op, &mut live, number as u32 * 100);
            for attempt in world.answered.drain(..).chain(world.failed.drain(..).map(|(a, _)| a)) {
                let at = live.iter().position(|other| *other == attempt);
                prop_assert!(at.is_some(), "{} ended twice", attempt);
                live.remove(at.unwrap());
            }
            world.check(&live)?;
        }
        // A server that answers everything ends everything.
        for _ in 0..20_000 {
            if live.is_empty() {
                break;
            }
            while !world.dialling.is_empty() {
                world.connect(0);
            }
            for id in world.up.clone() {
                world.pool.set_limit(world.now, id, 100);
                world.carry_out();
                let written = world.written.get(&id).cloned().unwrap_or_default();
                for (number, _) in written {
                    if let Some((attempt, _)) = world.pool.answer(world.now, id, number) {
                        live.retain(|other| *other != attempt);
                    }
                    world.carry_out();
                }
            }
            world.wait(100);
            // Some had been sent again as often as may be.
            for (failed, _) in world.failed.drain(..) {
                live.retain(|other| *other != failed);
            }
        }
        prop_assert!(live.is_empty(), "{} wait for ever", live.len());
        prop_assert!(world.pool.queries.is_empty(), "what has ended is off the books");
    }
}
