//! Members chosen by hand. Pure; somebody else keeps the text.

use std::fmt::Write;

use super::Groups;

/// Why a choice is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No group has this name.
    #[error("there is no group '{0}'")]
    NoGroup(String),
    /// The group has no such member.
    #[error("'{member}' is no member of group '{group}'")]
    NoMember {
        /// The group.
        group: String,
        /// What is not in it.
        member: String,
    },
}

impl Groups {
    /// Chooses a member of a group by hand, or none, so that the policy decides again. Policy
    /// `fixed` then uses this member and no other; the other policies use it while it lives.
    pub fn set_choice(&mut self, group: &str, member: Option<&str>) -> Result<(), ChoiceError> {
        let way = self.ways.iter().position(|way| &*way.name == group);
        let way = way.filter(|way| self.set(*way).is_some());
        let way = way.ok_or_else(|| ChoiceError::NoGroup(group.to_owned()))?;
        let pinned = match member {
            None => None,
            Some(name) => {
                let no_member = || ChoiceError::NoMember {
                    group: group.to_owned(),
                    member: name.to_owned(),
                };
                Some(self.member(way, name).ok_or_else(no_member)?)
            }
        };
        if let Some(set) = &mut self.ways[way].group {
            set.pinned = pinned;
        }
        Ok(())
    }

    /// The member chosen by hand, as an index into `Config::outbounds`.
    pub fn choice(&self, group: usize) -> Option<usize> {
        let set = self.set(group)?;
        let member = set.config.members.get(set.pinned?)?;
        Some(member.outbound)
    }

    /// Choices that shall outlive the process, one `GROUP MEMBER` a line.
    pub fn kept_choices(&self) -> String {
        let mut text = String::new();
        for (index, way) in self.ways.iter().enumerate() {
            let keeps = way.group.as_ref().is_some_and(|set| set.config.keep_choice);
            if let Some(member) = self.choice(index).filter(|_| keeps) {
                let _ = writeln!(text, "{} {}", way.name, self.ways[member].name);
            }
        }
        text
    }

    /// Takes over what [`Groups::kept_choices`] wrote, in this process or an earlier one. Lines
    /// that mean nothing any more are skipped; says how many.
    pub fn restore_choices(&mut self, text: &str) -> usize {
        let mut skipped = 0;
        for line in text.lines() {
            let names = line.split_once(' ');
            let keeps = |group: &str| {
                let way = self.ways.iter().find(|way| &*way.name == group);
                let set = way.and_then(|way| way.group.as_ref());
                set.is_some_and(|set| set.config.keep_choice)
            };
            let restored = match names.filter(|(group, _)| keeps(group)) {
                Some((group, member)) => self.set_choice(group, Some(member)).is_ok(),
                None => false,
            };
            skipped += usize::from(!restored);
        }
        skipped
    }

    /// The position of a member by its name.
    pub(super) fn member(&self, group: usize, name: &str) -> Option<usize> {
        let mut members = self.set(group)?.config.members.iter();
        members.position(|member| {
            let way = self.ways.get(member.outbound);
            way.is_some_and(|way| &*way.name == name)
        })
    }
}
