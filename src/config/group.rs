//! `config group`: who is in it, and who of them is used.

use crate::rules::Selector;

use super::low::{Item, Low};
use super::names::{FIXED, Outbounds, twice};
use super::options::{group as o, node};
use super::problem::{Problems, Wrong, show, suggest};
use super::spec::Opt;
use super::types::{Checked, Group, GroupPolicy, Member};
use super::values::{Filter, PolicyWord};
use super::{check, rule};

/// Most regular expressions of a file. Each is held against every node: that many of the largest
/// take seconds on a small router.
const MAX_PATTERNS: usize = 16;

/// Tells of the first group with which there are too many regular expressions.
pub(super) fn too_many_patterns(groups: &[&Low], problems: &mut Problems) -> bool {
    let mut count = 0;
    let passes = |low: &&&Low| {
        let filters = low.list(&o::FILTER);
        let is_pattern = |item: &&Item<Filter>| matches!(item.value, Filter::Pattern(_));
        count += filters.iter().filter(is_pattern).count();
        count > MAX_PATTERNS
    };
    let Some(low) = groups.iter().find(passes) else {
        return false;
    };
    let wrong = Wrong::new(
        format!("there are more than {MAX_PATTERNS} regular expressions in the file"),
        "remove some, or write keyword: or tag: and a text",
    );
    problems.add(
        low.place(&o::FILTER),
        &low.label,
        o::FILTER.spec.name,
        wrong,
    );
    true
}

/// Builds a group; None when something was or is told. `nodes` are all there are.
pub(super) fn build(
    low: &Low,
    outbounds: &Outbounds,
    nodes: &[&Low],
    problems: &mut Problems,
) -> Option<Group> {
    let members = members(low, outbounds, nodes, problems);
    let fallback = match low.has(&o::FALLBACK) {
        true => {
            let fallback = outbounds.resolve(low, &o::FALLBACK, &FIXED, problems);
            fallback.map(|(_, index)| Some(usize::from(index)))
        }
        false => Some(None),
    };
    let check = check::build(low, problems);
    let mut members = members?;
    let policy = policy(low, &members, outbounds, problems);
    offsets(low, &mut members, outbounds, problems)?;
    Some(Group {
        members,
        policy: policy?,
        tolerance: low.get(&o::TOLERANCE)?,
        fallback: fallback?,
        check: check?,
        keep_choice: low.get(&o::KEEP_CHOICE)?,
    })
}

/// Listed ones first; None when something was told, or there are none, which is told.
fn members(
    low: &Low,
    outbounds: &Outbounds,
    nodes: &[&Low],
    problems: &mut Problems,
) -> Option<Vec<Member>> {
    let mut found = listed(low, outbounds, problems)?;
    for option in [&o::NODE.spec, &o::FILTER.spec] {
        let entry = low.section.get(option.name);
        let blank = entry.is_some_and(|entry| {
            entry
                .values
                .iter()
                .all(|value| value.text.trim().is_empty())
        });
        if blank {
            let wrong = Wrong::new(
                "it is empty",
                format!("write {}, or remove it", option.form),
            );
            let place = entry.map_or(low.section.place, |entry| entry.place);
            problems.add(place, &low.label, option.name, wrong);
            return None;
        }
    }
    if low.has(&o::FILTER) || !low.has(&o::NODE) {
        let accepts = Accepts::new(low);
        for node in nodes.iter().filter(|node| accepts.accepts(node)) {
            let name = node.section.name.as_deref().unwrap_or("");
            let index = outbounds.index(name)?;
            if !found.contains(&index) {
                found.push(index);
            }
        }
    }
    if found.is_empty() {
        let (place, option, what) = match low.has(&o::FILTER) {
            true => (low.place(&o::FILTER), "filter", "no node is accepted"),
            false => (
                low.section.place,
                "",
                "there is no node that could be in it",
            ),
        };
        let write = "write list node with the names of nodes";
        problems.add(place, &low.label, option, Wrong::new(what, write));
        return None;
    }
    let member = |outbound| Member {
        outbound,
        offset: 0,
    };
    Some(found.into_iter().map(member).collect())
}

/// Members by name; None when something was told.
fn listed(low: &Low, outbounds: &Outbounds, problems: &mut Problems) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    let mut good = true;
    for item in low.list(&o::NODE) {
        let wrong = match outbounds.index(&item.value) {
            Some(index) if found.contains(&index) => twice(show(&item.value)),
            Some(index) => {
                found.push(index);
                continue;
            }
            None if FIXED.contains(&&*item.value) => Wrong::new(
                format!("{} is no node", item.value),
                format!("remove it, or write option fallback '{}'", item.value),
            ),
            None if problems.is_full() => return None,
            None => outbounds.missing(&item.value, &[]),
        };
        problems.add(item.place, &low.label, o::NODE.spec.name, wrong);
        good = false;
    }
    good.then_some(found)
}

/// The filters of a group: as the options of a rule do, names and tags must both accept.
struct Accepts {
    names: Selector<Filter>,
    tags: Selector<Filter>,
}

impl Accepts {
    fn new(low: &Low) -> Self {
        let Selector { include, exclude } = rule::selector(low, &o::FILTER);
        let is_tag = |filter: &Filter| matches!(filter, Filter::Tag(_));
        let (include_tags, include) = include.into_iter().partition(is_tag);
        let (exclude_tags, exclude) = exclude.into_iter().partition(is_tag);
        Self {
            names: Selector { include, exclude },
            tags: Selector {
                include: include_tags,
                exclude: exclude_tags,
            },
        }
    }

    fn accepts(&self, node: &Low) -> bool {
        let name = node.section.name.as_deref().unwrap_or("");
        let lower = name.to_ascii_lowercase();
        let tags = node.list(&node::TAG);
        let fits = |filter: &Filter| match filter {
            Filter::Name(whole) => name == &**whole,
            Filter::Keyword(part) => lower.contains(&**part),
            Filter::Pattern(pattern) => pattern.accepts(name),
            Filter::Tag(tag) => tags.iter().any(|item| item.value == *tag),
        };
        self.names.accepts(fits) && self.tags.accepts(fits)
    }
}

fn policy(
    low: &Low,
    members: &[Member],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<GroupPolicy> {
    let policy = match low.get(&o::POLICY)? {
        PolicyWord::Fixed if low.has(&o::FIXED) => {
            let name = low.get(&o::FIXED)?;
            let place = low.place(&o::FIXED);
            let position = position(low, &o::FIXED, (&name, place), members, outbounds, problems);
            return position.map(GroupPolicy::Fixed);
        }
        PolicyWord::Fixed => return Some(GroupPolicy::Fixed(0)),
        PolicyWord::Random => GroupPolicy::Random,
        PolicyWord::Min => GroupPolicy::Min,
        PolicyWord::MinAvg10 => GroupPolicy::MinAvg10,
        PolicyWord::MinMovingAvg => GroupPolicy::MinMovingAvg,
    };
    if low.has(&o::FIXED) {
        let wrong = Wrong::new(
            "the policy is another one",
            "remove it, or write option policy 'fixed'",
        );
        problems.add(low.place(&o::FIXED), &low.label, "fixed", wrong);
        return None;
    }
    Some(policy)
}

/// Sets what is written; None when something was told.
fn offsets(
    low: &Low,
    members: &mut [Member],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<()> {
    let mut seen = Vec::new();
    for Item { value, place, .. } in low.list(&o::OFFSET) {
        let named = (&*value.member, place);
        let position = position(low, &o::OFFSET, named, members, outbounds, problems)?;
        if seen.contains(&position) {
            let wrong = twice(show(&value.member));
            problems.add(place, &low.label, o::OFFSET.spec.name, wrong);
            return None;
        }
        seen.push(position);
        members[position].offset = value.ms;
    }
    Some(())
}

/// The position of a member by its name; one that is none is told.
fn position<T>(
    low: &Low,
    option: &Opt<T>,
    (name, place): (&str, super::uci::Place),
    members: &[Member],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<usize> {
    let index = outbounds.index(name);
    let position = index.and_then(|index| {
        let mut members = members.iter();
        members.position(|member| member.outbound == index)
    });
    if position.is_none() && !problems.is_full() {
        let names = members
            .iter()
            .filter_map(|member| outbounds.name(member.outbound));
        let what = format!("'{name}' is no member of the group");
        let wrong = Wrong::new(what, suggest(name, names));
        problems.add(place, &low.label, option.spec.name, wrong);
    }
    position
}

/// Every node that is a member of one of `groups`, which are in file order, each with its index
/// into the outbounds. A group that says how to check comes before one that does not.
pub(super) fn checked(groups: &[(usize, &Group)], outbounds: &Outbounds) -> Vec<Checked> {
    let of = |node: usize| {
        let has = |group: &Group| group.members.iter().any(|member| member.outbound == node);
        let mut own = groups.iter().filter(|(_, group)| has(group));
        let first = own.clone().next()?;
        let checks = own.find(|(_, group)| group.check.is_any());
        let (group, _) = *checks.unwrap_or(first);
        Some(Checked { node, group })
    };
    outbounds.nodes().filter_map(of).collect()
}
