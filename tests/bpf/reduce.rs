//! A failing case made small: parts are left out for as long as what remains still fails.

use dae::rules::{Rule, Selector};

use super::packet::{Address, Destination, Fragment, Shape, Spoil};
use super::pair::Case;

/// Tries a change; keeps it, and says so, when the case still fails.
type Try<'a> = dyn FnMut(&mut Case, &dyn Fn(&mut Case)) -> bool + 'a;

/// The smallest case found with at most so many attempts, each of which loads a program.
pub fn reduce(mut case: Case, attempts: usize, fails: impl Fn(&Case) -> bool) -> Case {
    let mut left = attempts;
    let mut try_it = |case: &mut Case, change: &dyn Fn(&mut Case)| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let mut smaller = case.clone();
        change(&mut smaller);
        let better = fails(&smaller);
        if better {
            *case = smaller;
        }
        better
    };
    drop_parts(
        &mut case,
        &mut try_it,
        |case| case.packets.len(),
        |case, from, to| {
            case.packets.drain(from..to);
        },
    );
    drop_parts(
        &mut case,
        &mut try_it,
        |case| case.rules.len(),
        |case, from, to| {
            case.rules.drain(from..to);
        },
    );
    drop_parts(
        &mut case,
        &mut try_it,
        |case| case.local.len(),
        |case, from, to| {
            case.local.drain(from..to);
        },
    );
    try_it(&mut case, &|case| case.names.clear());
    for packet in 0..case.packets.len() {
        for simpler in SIMPLER_SHAPES {
            try_it(&mut case, &|case| simpler(&mut case.packets[packet].1));
        }
    }
    for rule in 0..case.rules.len() {
        for simpler in SIMPLER_RULES {
            try_it(&mut case, &|case| simpler(&mut case.rules[rule]));
        }
    }
    case
}

/// Leaves out runs of elements, long ones first.
fn drop_parts(
    case: &mut Case,
    try_it: &mut Try<'_>,
    count: impl Fn(&Case) -> usize,
    drain: impl Fn(&mut Case, usize, usize),
) {
    let mut run = count(case);
    while run > 0 {
        // From the end: what comes after the failing packet goes first.
        let mut end = count(case);
        while end > 0 {
            let from = end.saturating_sub(run);
            try_it(case, &|case| drain(case, from, end));
            end = from;
        }
        run /= 2;
    }
}

const SIMPLER_SHAPES: [fn(&mut Shape); 9] = [
    |shape| shape.destination = Destination::Us,
    |shape| shape.tags.clear(),
    |shape| shape.extras.clear(),
    |shape| shape.extras.truncate(1),
    |shape| shape.fragment = Fragment::No,
    |shape| shape.other_proto = None,
    |shape| shape.address = Address::Flow,
    |shape| shape.payload = 0,
    |shape| shape.spoil = Spoil::Nothing,
];

const SIMPLER_RULES: [fn(&mut Rule); 10] = [
    |rule| rule.src_ip = Selector::default(),
    |rule| rule.dest_ip = Selector::default(),
    |rule| rule.domain = Selector::default(),
    |rule| rule.src_mac = Selector::default(),
    |rule| rule.src_port = Selector::default(),
    |rule| rule.dest_port = Selector::default(),
    |rule| rule.proto = Selector::default(),
    |rule| rule.family = Selector::default(),
    |rule| rule.dscp = Selector::default(),
    |rule| rule.interface = Selector::default(),
];
