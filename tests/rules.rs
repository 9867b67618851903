//! The compiled tables decide as the rules say, on random rules and flows.

#![allow(clippy::expect_used, reason = "a test that cannot go on should panic")]

#[path = "common/rules.rs"]
mod common;

use common::INTERFACES;
use dae::rules::{Image, naive};
use proptest::prelude::*;

fn holds(scenario: &common::Scenario) -> Result<(), TestCaseError> {
    let common::Scenario {
        rules,
        default,
        flows,
        ..
    } = scenario;
    let image = Image::compile(rules, *default, INTERFACES).expect("few different values");
    for flow in flows {
        let names = scenario.names_of(flow.dst);
        let said = naive::classify(rules, *default, flow, names);
        let done = image.classify(flow, image.names.matches_any(names));
        prop_assert_eq!(done, said, "{:?} with names {:?}", flow, names);
    }
    Ok(())
}

/// Failures are printed shrunk, with their seed; no file is kept of them.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn few_rules(scenario in common::scenario(0..=6, 100)) {
        holds(&scenario)?;
    }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn many_rules(scenario in common::scenario(60..=256, 400)) {
        holds(&scenario)?;
    }
}

/// The generator is worth something only when rules, the default and each dimension decide.
#[test]
fn the_generator_reaches_every_dimension() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut matched, mut defaulted) = (0, 0);
    let mut rejected = std::collections::HashMap::new();
    for _ in 0..300 {
        let tree = common::scenario(0..=6, 50)
            .new_tree(&mut runner)
            .expect("always one");
        let scenario = tree.current();
        for flow in &scenario.flows {
            let names = scenario.names_of(flow.dst);
            match naive::classify(&scenario.rules, scenario.default, flow, names).rule {
                Some(_) => matched += 1,
                None => defaulted += 1,
            }
            for rule in &scenario.rules {
                for dimension in naive::Dimension::ALL {
                    if !dimension.accepts(rule, flow, names) {
                        *rejected.entry(dimension).or_insert(0) += 1;
                    }
                }
            }
        }
    }
    assert!(
        matched > 1000 && defaulted > 1000,
        "{matched} by rules, {defaulted} by default"
    );
    for dimension in naive::Dimension::ALL {
        assert!(
            rejected[&dimension] > 500,
            "{dimension:?} hardly ever rejects: {rejected:?}"
        );
    }
}
