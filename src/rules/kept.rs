//! What a change of rules leaves as it was.

use super::MAX_RULES;

/// Rules that say the same before and after a change, wherever they stand and whatever they are
/// called. The default, made of nothing, knows none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// By old rule: the same rule's new index.
    pub rules: Vec<Option<u16>>,
    /// Flows that no rule matches go where they went.
    pub default: bool,
    /// The new rules are the old ones in the same order, and the default too: whatever was
    /// decided would be decided again.
    pub all: bool,
}

impl Kept {
    /// Of `count` rules that do not change.
    pub fn everything(count: usize) -> Self {
        Self {
            rules: (0..count.min(MAX_RULES) as u16).map(Some).collect(),
            default: true,
            all: true,
        }
    }

    /// Finds the rules: by new rule, the old one that says the same. No old rule is found twice.
    /// `before` is how many there were.
    pub fn find(
        before: usize,
        now: usize,
        default: bool,
        same: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut rules = vec![None; before.min(MAX_RULES)];
        for new in 0..now.min(MAX_RULES) {
            // Mostly they stand where they stood.
            let places = (new..rules.len()).chain(0..new.min(rules.len()));
            for old in places {
                if rules[old].is_none() && same(old, new) {
                    rules[old] = Some(new as u16);
                    break;
                }
            }
        }
        let in_order = (0..).zip(&rules).all(|(old, new)| *new == Some(old));
        Self {
            all: default && in_order && before == now,
            rules,
            default,
        }
    }

    /// The new index of an old rule.
    pub fn rule(&self, old: usize) -> Option<u16> {
        self.rules.get(old).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(before: &str, now: &str) -> Kept {
        let (old, new) = (before.as_bytes(), now.as_bytes());
        Kept::find(old.len(), new.len(), true, |a, b| old[a] == new[b])
    }

    #[test]
    fn rules_are_known_by_what_they_say() {
        assert_eq!(find("abc", "abc"), Kept::everything(3));
        assert_eq!(find("", ""), Kept::everything(0));
        let moved = find("abc", "xcab");
        assert_eq!(moved.rules, [Some(2), Some(3), Some(1)]);
        assert!(!moved.all);
        let swapped = find("ab", "ba");
        assert_eq!(swapped.rules, [Some(1), Some(0)]);
        assert!(!swapped.all, "another comes first");
        let gone = find("abc", "ac");
        assert_eq!(gone.rules, [Some(0), None, Some(1)]);
        assert!(!gone.all);
        let more = find("ab", "abc");
        assert_eq!(more.rules, [Some(0), Some(1)]);
        assert!(!more.all, "a further one decides too");
    }

    #[test]
    fn rules_that_say_the_same_are_not_counted_twice() {
        assert_eq!(find("aa", "a").rules, [Some(0), None]);
        assert_eq!(find("a", "aa").rules, [Some(0)]);
        assert_eq!(find("aa", "aa"), Kept::everything(2));
    }

    #[test]
    fn another_default_decides_otherwise() {
        let kept = Kept::find(1, 1, false, |_, _| true);
        assert!(!kept.all && !kept.default);
    }
}
