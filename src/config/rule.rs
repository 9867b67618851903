//! `config rule`: from the low form to [`Rule`].

use crate::rules::{Action, Rule, Selector, Verdict};

use super::low::{Item, Low};
use super::names::{FIXED, Outbounds};
use super::options::rule as o;
use super::problem::{Problems, Wrong, show, suggest};
use super::spec::Opt;

/// Builds a rule; None when something was or is told. `interfaces` is None when section dae has
/// problems of its own.
pub(super) fn build(
    low: &Low,
    outbounds: &Outbounds,
    interfaces: Option<&[String]>,
    problems: &mut Problems,
) -> Option<Rule> {
    if low.get(&o::ENABLED) == Some(false) {
        return None;
    }
    let mark = low.get(&o::MARK);
    let target = outbounds.resolve(low, &o::OUTBOUND, &FIXED, problems);
    let verdict = target.map(|(action, outbound)| Verdict {
        action,
        outbound,
        mark: mark.unwrap_or(0),
    });
    if mark.is_some()
        && let Some(verdict) = verdict
        && verdict.action != Action::Direct
    {
        let wrong = Wrong::new(
            "a mark can be set on direct connections only",
            "write outbound 'direct', or remove the mark",
        );
        problems.add(low.place(&o::MARK), &low.label, "mark", wrong);
    }
    let interface = interface(low, interfaces, problems);
    let proto = flatten(low.list(&o::PROTO));
    let family = flatten(low.list(&o::FAMILY));
    never(low, &o::PROTO, &proto, problems);
    never(low, &o::FAMILY, &family, problems);
    Some(Rule {
        name: name(low, &o::NAME),
        src_ip: selector(low, &o::SRC_IP),
        dest_ip: selector(low, &o::DEST_IP),
        domain: selector(low, &o::DOMAIN),
        src_mac: selector(low, &o::SRC_MAC),
        src_port: selector(low, &o::SRC_PORT),
        dest_port: selector(low, &o::DEST_PORT),
        proto,
        family,
        dscp: selector(low, &o::DSCP),
        interface: interface?,
        verdict: verdict?,
    })
}

/// `option name`, the section's name, or the position.
pub(super) fn name(low: &Low, option: &Opt<String>) -> String {
    let name = low.get(option).or_else(|| low.section.name.clone());
    name.unwrap_or_else(|| low.position.clone())
}

/// The values of an option, those with `!` as excluded.
pub(super) fn selector<T>(low: &Low, option: &Opt<T>) -> Selector<T> {
    collect(
        low.list(option)
            .into_iter()
            .map(|item| (item.value, item.negated)),
    )
}

fn flatten<T>(items: Vec<Item<Vec<T>>>) -> Selector<T> {
    let each = |item: Item<Vec<T>>| {
        let negated = item.negated;
        item.value.into_iter().map(move |value| (value, negated))
    };
    collect(items.into_iter().flat_map(each))
}

fn collect<T>(values: impl Iterator<Item = (T, bool)>) -> Selector<T> {
    let mut selector = Selector::default();
    for (value, negated) in values {
        if negated {
            &mut selector.exclude
        } else {
            &mut selector.include
        }
        .push(value);
    }
    selector
}

/// Both protocols, or both IP versions, excluded.
fn never<T: PartialEq, U>(
    low: &Low,
    option: &Opt<U>,
    selector: &Selector<T>,
    problems: &mut Problems,
) {
    let first = selector.exclude.first();
    if selector.exclude.iter().any(|value| Some(value) != first) {
        let wrong = Wrong::new(
            "everything is excluded, so the rule can never match",
            "exclude one, or remove the option",
        );
        problems.add(low.place(option), &low.label, option.spec.name, wrong);
    }
}

fn interface(
    low: &Low,
    interfaces: Option<&[String]>,
    problems: &mut Problems,
) -> Option<Selector<u16>> {
    let known = interfaces?;
    let mut missing = false;
    let mut values = Vec::new();
    for item in low.list(&o::INTERFACE) {
        let index = known.iter().position(|name| *name == item.value);
        match index.and_then(|index| u16::try_from(index).ok()) {
            Some(index) => values.push((index, item.negated)),
            None => {
                missing = true;
                if problems.is_full() {
                    continue;
                }
                let what = format!("{} is no interface of section dae", show(&item.value));
                let mut write = suggest(&item.value, known.iter().map(String::as_str));
                if write == "remove it" {
                    write = format!("add list interface {} to section dae", show(&item.value));
                }
                let wrong = Wrong::new(what, write);
                problems.add(item.place, &low.label, "interface", wrong);
            }
        }
    }
    (!missing).then(|| collect(values.into_iter()))
}
