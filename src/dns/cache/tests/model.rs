//! Random steps against a model that remembers everything.

use proptest::prelude::*;

use super::*;

/// What a list remembers of an answer.
#[derive(Debug, Clone)]
struct Remembered {
    number: u32,
    size: usize,
    since: Instant,
    life: u64,
    hits: u32,
    prefetched: bool,
    failed: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, usize, u32),
    Servfail(u32),
    Lookup(u32),
    Failed(u32),
    Resize(usize),
    Keep(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0u32..30;
    prop_oneof![
        4 => (number(), 0usize..600, 1u32..40).prop_map(|(n, size, life)| Step::Insert(n, size, life)),
        1 => number().prop_map(Step::Servfail),
        8 => number().prop_map(Step::Lookup),
        1 => number().prop_map(Step::Failed),
        1 => (8usize..40).prop_map(|kilo| Step::Resize(kilo * 1024)),
        1 => (1u32..7).prop_map(Step::Keep),
        4 => (0u64..12).prop_map(Step::Pass),
    ]
}

const STALE: u64 = 25;

/// What the list says to a lookup; the words of [`look`].
fn remembered(all: &mut [Remembered], now: Instant, number: u32) -> Option<(usize, String)> {
    let one = all.iter_mut().find(|one| one.number == number)?;
    let age = (now - one.since).as_secs();
    if age < one.life {
        one.hits += 1;
        let due = one.life >= 10 && (one.life - age) <= one.life / 10;
        let prefetch = due && one.hits >= 2 && !one.prefetched && one.failed.is_none();
        one.prefetched |= prefetch;
        let prefetch = if prefetch { " prefetch" } else { "" };
        return Some((one.size, format!("fresh {age}{prefetch}")));
    }
    let waited = |failed: Instant| (failed - one.since).as_secs() + 30 <= age;
    let at_once = one.failed.is_some_and(|failed| !waited(failed));
    (age - one.life < STALE).then(|| {
        (
            one.size,
            format!("stale{}", if at_once { " at once" } else { "" }),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Against a list: what is found was put there last, and is as old as it says. What is not
    /// found had to leave for others.
    #[test]
    fn it_holds_what_was_put_there(roomy: bool, steps in prop::collection::vec(step(), 1..300)) {
        let mut now = Instant::now();
        let mut cache = Cache::new(if roomy { 1 << 20 } else { 16 * 1024 }, STALE as u32);
        let mut all: Vec<Remembered> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(number, size, life) => {
                    let (question, stored) = pair(number, size);
                    cache.insert(now, key(&question), SERVER, stored, life);
                    all.retain(|one| one.number != number);
                    all.push(Remembered {
                        number, size, since: now, life: life.into(), hits: 0,
                        prefetched: false, failed: None,
                    });
                }
                Step::Servfail(number) => {
                    // Without an answer that may still be used, nobody looks before it is over.
                    if look(&mut cache, now, number, None).is_empty() {
                        continue;
                    }
                    remembered(&mut all, now, number);
                    let one = all.iter_mut().find(|one| one.number == number).unwrap();
                    one.failed = Some(now);
                    let question = question(number);
                    cache.insert(now, key(&question), SERVER, failure(number, 2), 1);
                }
                Step::Lookup(number) => {
                    let expected = remembered(&mut all, now, number);
                    let question = question(number);
                    let memory = match cache.lookup(now, key(&question), None) {
                        Some(Found::Fresh { stored, .. } | Found::Stale { stored, .. }) => {
                            Some(stored.memory())
                        }
                        None => None,
                    };
                    // Looked up twice, so remembered twice.
                    let twice = remembered(&mut all, now, number).map(|(_, text)| text);
                    let text = look(&mut cache, now, number, None);
                    match memory {
                        Some(memory) => {
                            let size = expected.unwrap().0;
                            prop_assert_eq!(memory, pair(number, size).1.memory());
                            prop_assert_eq!(Some(text), twice);
                        }
                        None => {
                            prop_assert!(expected.is_none() || !roomy);
                            all.retain(|one| one.number != number);
                        }
                    }
                }
                Step::Failed(number) => {
                    let question = question(number);
                    cache.refresh_failed(now, key(&question), None);
                    let one = all.iter_mut().find(|one| one.number == number);
                    one.into_iter().for_each(|one| one.failed = Some(now));
                }
                Step::Resize(bound) => cache.reconfigure(if roomy { bound * 20 } else { bound }, STALE as u32),
                Step::Keep(every) => {
                    let kept = |name: &str| name[1..name.len() - 8].parse::<u32>().unwrap() % every == 0;
                    cache.retain(|question, server, _| kept(&question.text()).then_some(server));
                    all.retain(|one| one.number % every == 0);
                }
                Step::Pass(time) => now += seconds(time),
            }
            cache.table.check();
        }
        prop_assert!(!roomy || cache.counters().evicted == 0);
    }
}
