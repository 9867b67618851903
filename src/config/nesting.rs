//! Groups in groups: an order in which none comes before what it refers to, and circles, which
//! have none.

use super::low::Low;
use super::options::group as o;
use super::problem::{Problems, Wrong};
use super::uci::Place;

/// Most groups that refer to one another in a row: whoever looks for a node walks them all.
pub(super) const MAX_DEPTH: usize = 8;

/// Most names of a circle that are told.
const TOLD: usize = 6;

/// A group that another refers to.
struct Reference {
    to: usize,
    option: &'static str,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

struct Walk<'a> {
    groups: &'a [&'a Low<'a>],
    marks: Vec<Mark>,
    /// Groups in a row from each on, itself included.
    depths: Vec<usize>,
    /// From where the walk began to where it is.
    path: Vec<usize>,
    order: Vec<usize>,
}

/// Indices into `groups` in an order in which each comes behind those that it refers to, and
/// else in the order of the file. Circles are told, and groups that are nested too deep.
pub(super) fn order(groups: &[&Low], problems: &mut Problems) -> Vec<usize> {
    let mut walk = Walk {
        groups,
        marks: vec![Mark::New; groups.len()],
        depths: vec![0; groups.len()],
        path: Vec::new(),
        order: Vec::new(),
    };
    for group in 0..groups.len() {
        if walk.marks[group] == Mark::New {
            walk.visit(group, problems);
        }
    }
    walk.order
}

impl Walk<'_> {
    /// Recurses at most as deep as there are groups.
    fn visit(&mut self, group: usize, problems: &mut Problems) {
        self.marks[group] = Mark::Open;
        self.path.push(group);
        let mut depth = 0;
        for reference in references(self.groups, group) {
            match self.marks[reference.to] {
                Mark::New => self.visit(reference.to, problems),
                Mark::Open => self.tell_circle(group, &reference, problems),
                Mark::Done => {}
            }
            depth = depth.max(self.depths[reference.to]);
        }
        self.path.pop();
        self.marks[group] = Mark::Done;
        self.depths[group] = depth + 1;
        self.order.push(group);
        // Those that refer to this one are not told once more.
        if depth == MAX_DEPTH {
            let low = self.groups[group];
            let wrong = Wrong::new(
                format!("more than {MAX_DEPTH} groups refer to one another in a row"),
                "name nodes here in place of groups",
            );
            problems.add(low.section.place, &low.label, "", wrong);
        }
    }

    fn tell_circle(&self, group: usize, reference: &Reference, problems: &mut Problems) {
        let start = self.path.iter().position(|on| *on == reference.to);
        let circle = &self.path[start.unwrap_or(0)..];
        let names = circle.iter().chain([&reference.to]);
        let mut names: Vec<&str> = names.map(|group| name(self.groups[*group])).collect();
        if names.len() > TOLD {
            names.splice(TOLD / 2..names.len() - TOLD / 2, ["..."]);
        }
        let wrong = Wrong::new(
            format!("the groups go in a circle: {}", names.join(" -> ")),
            "remove one of these names from the group before it",
        );
        let label = &self.groups[group].label;
        problems.add(reference.place, label, reference.option, wrong);
    }
}

fn name<'a>(low: &Low<'a>) -> &'a str {
    low.section.name.as_deref().unwrap_or("")
}

/// What a group says about other groups.
fn references(groups: &[&Low], group: usize) -> Vec<Reference> {
    let low = groups[group];
    let mut references = Vec::new();
    let mut add = |named: &str, option, place| {
        if let Some(to) = groups.iter().position(|low| name(low) == named) {
            references.push(Reference { to, option, place });
        }
    };
    for item in low.list(&o::NODE) {
        add(&item.value, o::NODE.spec.name, item.place);
    }
    if let Some(fallback) = low.get(&o::FALLBACK) {
        add(&fallback, o::FALLBACK.spec.name, low.place(&o::FALLBACK));
    }
    references
}
