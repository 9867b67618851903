use std::collections::HashMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::rules::Selector;
use crate::rules::domain::DomainPattern;

/// Applies updates as the kernel's maps would, and insists on their contract.
#[derive(Default)]
struct Kernel {
    vectors: HashMap<VectorIndex, Bits>,
    names: HashMap<IpAddr, VectorIndex>,
    most: usize,
}

impl Kernel {
    fn apply(&mut self, updates: &mut Vec<NameUpdate>) {
        for update in updates.drain(..) {
            match update {
                NameUpdate::Vector { index, vector } => {
                    assert!(
                        !self.names.values().any(|used| *used == index),
                        "{index} is in use"
                    );
                    self.vectors.insert(index, vector);
                }
                NameUpdate::Set { addr, vector } => {
                    assert!(
                        self.vectors.contains_key(&vector),
                        "{vector} was never written"
                    );
                    self.names.insert(addr, vector);
                }
                NameUpdate::Remove { addr } => {
                    assert!(self.names.remove(&addr).is_some(), "{addr} has no entry");
                }
            }
            self.most = self.most.max(self.names.len());
        }
    }

    fn vector_of(&self, addr: IpAddr, miss: Bits) -> Bits {
        self.names
            .get(&addr)
            .map_or(miss, |index| self.vectors[index])
    }
}

fn index(selectors: &[(&[&str], &[&str])]) -> Arc<DomainIndex> {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let selectors: Vec<Selector<DomainPattern>> = selectors
        .iter()
        .map(|(include, exclude)| Selector {
            include: parse(include),
            exclude: parse(exclude),
        })
        .collect();
    Arc::new(DomainIndex::new(&selectors).unwrap())
}

fn addr(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn names(table: &NameTable, addr: IpAddr) -> Vec<String> {
    table.names(addr).map(String::from).collect()
}

#[test]
fn a_shared_address_carries_the_union() {
    let index = index(&[
        (&["a.example"], &[]),
        (&["b.example"], &[]),
        (&[], &["a.example"]),
    ]);
    let mut table = NameTable::with_places(Arc::clone(&index), 7..9, 10);
    let (mut kernel, mut updates, now) = (Kernel::default(), Vec::new(), Instant::now());
    table.learn(now, "a.example", [addr(1), addr(2)], 60, &mut updates);
    assert_eq!(updates.len(), 3, "one vector, two addresses: {updates:?}");
    assert!(matches!(updates[0], NameUpdate::Vector { index: 7, .. }));
    kernel.apply(&mut updates);
    assert_eq!(
        kernel.vector_of(addr(2), index.unknown()),
        index.matches("a.example")
    );

    table.learn(now, "b.example", [addr(2)], 60, &mut updates);
    kernel.apply(&mut updates);
    let both = index.matches("a.example") | index.matches("b.example");
    assert_eq!(table.vector_of(addr(2)), both);
    assert_eq!(kernel.vector_of(addr(2), index.unknown()), both);
    assert_eq!(names(&table, addr(2)), ["a.example", "b.example"]);
}

#[test]
fn names_that_mean_nothing_stay_out_of_the_kernel_but_count() {
    let index = index(&[(&[], &["secret.example"])]);
    let mut table = NameTable::with_places(Arc::clone(&index), 0..4, 10);
    let (mut kernel, mut updates, now) = (Kernel::default(), Vec::new(), Instant::now());
    table.learn(now, "plain.example", [addr(1)], 60, &mut updates);
    assert_eq!(updates, []);
    table.learn(now, "secret.example", [addr(1), addr(2)], 60, &mut updates);
    kernel.apply(&mut updates);
    assert_eq!(
        kernel.vector_of(addr(1), index.unknown()),
        Bits::below(1),
        "plain accepts"
    );
    assert_eq!(kernel.vector_of(addr(2), index.unknown()), Bits::NONE);
    assert_eq!(kernel.names.len(), 1);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_name_lives_for_its_ttl_and_the_grace() {
    let index = index(&[(&["a"], &[])]);
    let mut table = NameTable::with_places(index, 0..4, 10);
    let (mut kernel, mut updates, start) = (Kernel::default(), Vec::new(), Instant::now());
    assert_eq!(table.next_expiry(), None);
    table.learn(start, "a", [addr(1)], 60, &mut updates);
    table.learn(start, "a", [addr(1)], 1, &mut updates);
    let end = start + Duration::from_secs(60) + GRACE;
    table.expire(end - Duration::from_millis(1), &mut updates);
    kernel.apply(&mut updates);
    assert_eq!(kernel.names.len(), 1);
    let next = table.next_expiry().unwrap();
    assert!(next >= end && next <= end + EXPIRE_EVERY);
    table.expire(next, &mut updates);
    assert_eq!(updates, [NameUpdate::Remove { addr: addr(1) }]);
    assert!(table.is_empty() && table.cost == 0 && table.vectors() == 0);
    assert_eq!(table.next_expiry(), None);

    table.learn(start, "a", [addr(1)], u32::MAX, &mut updates);
    assert_eq!(table.next_expiry(), Some(start + MAX_TTL + GRACE));
}

#[test]
fn the_address_learnt_least_recently_makes_room() {
    let index = index(&[(&["a"], &[])]);
    let mut table = NameTable::with_places(index, 0..4, 2);
    let (mut kernel, mut updates, now) = (Kernel::default(), Vec::new(), Instant::now());
    for n in [1, 2, 1, 3] {
        table.learn(now, "a", [addr(n)], 60, &mut updates);
        kernel.apply(&mut updates);
    }
    assert_eq!(names(&table, addr(2)), [""; 0]);
    assert_eq!((table.len(), kernel.names.len(), kernel.most), (2, 2, 2));
    assert_eq!(table.counters().addresses_evicted, 1);
}

#[test]
fn the_name_learnt_least_recently_makes_room() {
    let mut table = NameTable::with_places(index(&[]), 0..4, 2);
    let (mut updates, now) = (Vec::new(), Instant::now());
    for n in 0..MAX_NAMES_PER_ADDRESS {
        table.learn(now, format!("n{n}"), [addr(1)], 60, &mut updates);
    }
    table.learn(now, "n0", [addr(1)], 60, &mut updates);
    assert_eq!(table.counters(), NameCounters::default());
    table.learn(now, "more", [addr(1)], 60, &mut updates);
    assert_eq!(table.counters().names_evicted, 1);
    let names = names(&table, addr(1));
    assert_eq!(
        (names.len(), &*names[0]),
        (MAX_NAMES_PER_ADDRESS, "n2"),
        "n1 left"
    );
}

#[test]
fn long_names_do_not_outgrow_the_table() {
    let mut table = NameTable::with_places(index(&[]), 0..4, 100);
    let (mut updates, now) = (Vec::new(), Instant::now());
    for n in 0..1000u32 {
        let name = format!("{n:0>60}.{0}.{0}.{0}", "x".repeat(60));
        table.learn(now, &*name, [addr(n % 100)], 60, &mut updates);
        assert!(table.cost <= table.max_cost);
        assert_eq!(
            names(&table, addr(n % 100)).last(),
            Some(&name),
            "the newest always stays"
        );
    }
    assert!(table.counters().addresses_evicted > 0);
    assert!(table.len() > 10);
}

#[test]
fn what_no_flow_can_have_is_ignored() {
    let mut table = NameTable::with_places(index(&[(&["a"], &[])]), 0..4, 10);
    let (mut updates, now) = (Vec::new(), Instant::now());
    let addrs = [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
    ];
    let addrs = addrs
        .into_iter()
        .chain(["::ffff:10.0.0.1"])
        .map(|addr| addr.parse().unwrap());
    table.learn(now, "a", addrs, 60, &mut updates);
    table.learn(now, "", [addr(1)], 60, &mut updates);
    table.learn(now, "a".repeat(254), [addr(1)], 60, &mut updates);
    assert!(table.is_empty() && updates.is_empty());
}

#[test]
fn without_a_free_vector_an_address_counts_as_nameless_until_learnt_again() {
    let index = index(&[(&["a"], &[]), (&["b"], &[])]);
    let mut table = NameTable::with_places(Arc::clone(&index), 0..1, 10);
    let (mut kernel, mut updates, now) = (Kernel::default(), Vec::new(), Instant::now());
    table.learn(now, "a", [addr(1)], 0, &mut updates);
    let later = now + Duration::from_secs(10);
    table.learn(later, "b", [addr(2)], 0, &mut updates);
    kernel.apply(&mut updates);
    assert_eq!(table.counters().vectors_exhausted, 1);
    assert_eq!(kernel.vector_of(addr(2), index.unknown()), index.unknown());
    assert_eq!(
        table.vector_of(addr(2)),
        index.unknown(),
        "both classifiers agree"
    );

    table.expire(now + GRACE, &mut updates);
    table.learn(later, "b", [addr(2)], 0, &mut updates);
    kernel.apply(&mut updates);
    assert_eq!(
        kernel.vector_of(addr(2), index.unknown()),
        index.matches("b")
    );

    // The only user of the only place may change its vector.
    table.learn(later, "a", [addr(2)], 0, &mut updates);
    kernel.apply(&mut updates);
    assert_eq!(kernel.vector_of(addr(2), index.unknown()), Bits::below(2));
}

/// The same, said simply: a list in order of learning.
#[derive(Default)]
struct Model {
    addresses: Vec<(IpAddr, Vec<(String, Instant)>)>,
}

impl Model {
    fn learn(&mut self, name: &str, addr: IpAddr, until: Instant, max: usize) {
        let known = self
            .addresses
            .iter()
            .position(|(listed, _)| *listed == addr);
        let (_, mut names) =
            known.map_or_else(|| (addr, Vec::new()), |at| self.addresses.remove(at));
        let known = names.iter().position(|(listed, _)| listed == name);
        let before = known.map(|at| names.remove(at).1);
        names.push((
            name.into(),
            before.map_or(until, |before| before.max(until)),
        ));
        if names.len() > MAX_NAMES_PER_ADDRESS {
            names.remove(0);
        }
        if self.addresses.len() == max {
            self.addresses.remove(0);
        }
        self.addresses.push((addr, names));
        while self.cost() > MAX_NAMES_PER_ADDRESS * (MAX_NAME + NAME_COST) {
            self.addresses.remove(0);
        }
    }

    fn cost(&self) -> usize {
        self.addresses
            .iter()
            .flat_map(|(_, names)| names)
            .map(|(name, _)| cost(name))
            .sum()
    }

    fn expire(&mut self, now: Instant) {
        for (_, names) in &mut self.addresses {
            names.retain(|(_, until)| now < *until);
        }
        self.addresses.retain(|(_, names)| !names.is_empty());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Learn { name: u8, addrs: Vec<u8>, ttl: u32 },
    Pass { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..24u8, prop::collection::vec(0..12u8, 1..4), 0..400u32)
            .prop_map(|(name, addrs, ttl)| Step::Learn { name, addrs, ttl }),
        1 => (0..200u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// Holds table, kernel and model together after every step; `exact` when places are plenty.
fn holds(steps: &[Step], places: VectorIndex, max: usize) -> Result<(), TestCaseError> {
    let index = index(&[
        (&["n1", "n2", "n3"], &[]),
        (&["keyword:1"], &["n11"]),
        (&[], &["n5", "full:n7"]),
        (&["keyword:n"], &["n2", "n8"]),
    ]);
    let mut table = NameTable::with_places(Arc::clone(&index), 100..100 + places, max);
    let (mut kernel, mut model) = (Kernel::default(), Model::default());
    let (mut now, mut updates) = (Instant::now(), Vec::new());
    for step in steps {
        match step {
            Step::Learn { name, addrs, ttl } => {
                let name = format!("n{name}");
                let until = now + Duration::from_secs((*ttl).into()) + GRACE;
                table.learn(
                    now,
                    &*name,
                    addrs.iter().map(|n| addr((*n).into())),
                    *ttl,
                    &mut updates,
                );
                for n in addrs {
                    model.learn(&name, addr((*n).into()), until, max);
                }
            }
            Step::Pass { seconds } => {
                now += Duration::from_secs(*seconds);
                // The second call is due whatever the first one did.
                table.expire(now, &mut updates);
                now += EXPIRE_EVERY;
                table.expire(now, &mut updates);
                model.expire(now);
            }
        }
        kernel.apply(&mut updates);
        check(&table, &kernel, &model, &index)?;
        prop_assert!(kernel.most <= max);
        if places > 64 {
            prop_assert_eq!(table.counters().vectors_exhausted, 0);
        }
    }
    Ok(())
}

fn check(
    table: &NameTable,
    kernel: &Kernel,
    model: &Model,
    index: &DomainIndex,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(table.len(), model.addresses.len());
    for n in 0..12 {
        let addr = addr(n);
        let known = model.addresses.iter().find(|(listed, _)| *listed == addr);
        let known: Vec<_> = known.into_iter().flat_map(|(_, names)| names).collect();
        prop_assert_eq!(
            names(table, addr),
            known.iter().map(|(name, _)| &**name).collect::<Vec<_>>()
        );
        let union = index.matches_any(known.iter().map(|(name, _)| name));
        let seen = kernel.vector_of(addr, index.unknown());
        prop_assert_eq!(table.vector_of(addr), seen);
        let nameless = seen == index.unknown() && table.counters().vectors_exhausted > 0;
        prop_assert!(
            seen == union || nameless,
            "{:?} {:?} {:?}",
            addr,
            seen,
            union
        );
    }
    prop_assert_eq!(table.cost, model.cost());
    // Every place has exactly as many users as the kernel's entries say.
    let mut users = HashMap::new();
    for place in kernel.names.values() {
        *users.entry(*place).or_insert(0) += 1;
    }
    prop_assert_eq!(table.slots.users(), users);
    prop_assert_eq!(table.due.is_none(), table.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn table_kernel_and_model_agree(steps in prop::collection::vec(step(), 1..80)) {
        holds(&steps, 200, 8)?;
    }

    #[test]
    fn and_with_few_places(steps in prop::collection::vec(step(), 1..160), places in 0..4u16) {
        holds(&steps, places, 12)?;
    }
}

#[test]
fn other_rules_see_the_same_names() {
    let old = index(&[(&["a.example"], &[])]);
    let new = index(&[(&["b.example"], &[]), (&[], &["a.example"])]);
    let mut table = NameTable::with_places(old, 7..20, 10);
    let (mut updates, now) = (Vec::new(), Instant::now());
    table.learn(now, "a.example", [addr(1), addr(2)], 60, &mut updates);
    table.learn(now, "b.example", [addr(2)], 90, &mut updates);
    table.learn(now, "c.example", [addr(3)], 60, &mut updates);
    table.learn(now, "b.example", [addr(4)], 60, &mut updates);
    updates.clear();
    let mut now_under = NameTable::with_places(Arc::clone(&new), 3..9, 3);
    now_under.take_over(&table, &mut updates);
    let mut kernel = Kernel::default();
    kernel.apply(&mut updates);
    // The first address learnt has no room.
    assert_eq!(now_under.len(), 3);
    assert_eq!(now_under.counters().addresses_evicted, 1);
    assert!(names(&now_under, addr(1)).is_empty());
    for n in 2..=4 {
        assert_eq!(names(&now_under, addr(n)), names(&table, addr(n)));
        let known = names(&table, addr(n));
        let union = new.matches_any(known.iter());
        assert_eq!(now_under.vector_of(addr(n)), union, "{n}");
        assert_eq!(kernel.vector_of(addr(n), new.unknown()), union, "{n}");
    }
    // Nothing of the old table is touched, and leases go on.
    assert_eq!(names(&table, addr(1)), ["a.example"]);
    now_under.expire(now + GRACE + Duration::from_secs(61), &mut updates);
    kernel.apply(&mut updates);
    assert_eq!(now_under.len(), 1);
    assert_eq!(names(&now_under, addr(2)), ["b.example"]);
    now_under.expire(now + GRACE + Duration::from_secs(200), &mut updates);
    assert_eq!((now_under.len(), now_under.vectors()), (0, 0));
}

#[test]
fn names_that_cost_too_much_stay_behind_oldest_first() {
    let index = index(&[(&["a.example"], &[])]);
    let mut table = NameTable::with_places(Arc::clone(&index), 7..20, 200);
    let (mut updates, now) = (Vec::new(), Instant::now());
    let long = "a".repeat(200);
    for n in 0..100 {
        table.learn(now, format!("{n}.{long}"), [addr(n)], 60, &mut updates);
    }
    let mut narrow = NameTable::with_places(index, 7..20, 90);
    narrow.take_over(&table, &mut updates);
    assert!(narrow.cost <= narrow.max_cost, "{}", narrow.cost);
    assert!(narrow.len() > 30, "{}", narrow.len());
    assert!(names(&narrow, addr(0)).is_empty() && !names(&narrow, addr(99)).is_empty());
    let sum: usize = narrow.addresses.iter().map(|(_, entry)| entry.cost()).sum();
    assert_eq!(sum, narrow.cost);
}
