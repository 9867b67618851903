//! What becomes of an upstream's answer: rules by name, type, address and upstream. Pure.

use std::net::IpAddr;
use std::rc::Rc;

use super::route::{Group, Groups};
use super::upstream::UpstreamId;
use crate::config::{AnswerAction, Config};
use crate::rules::index::DomainIndex;
use crate::rules::net_set::NetSet;
use crate::rules::{MAX_RULES, Selector};

/// How often a question may be sent on to other upstreams.
pub const MAX_DEPTH: u8 = 3;

/// What a rule decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The client gets it, whatever addresses it has.
    Accept,
    /// NOERROR without an answer.
    Reject,
    /// These upstreams are asked instead.
    Ask(Rc<Group>),
}

/// The rules in their order.
pub struct AnswerRules {
    rules: Vec<Rule>,
    /// One index for every [`MAX_RULES`] rules.
    index: Vec<DomainIndex>,
}

struct Rule {
    qtype: Selector<u16>,
    upstream: Selector<UpstreamId>,
    include: NetSet,
    exclude: NetSet,
    action: Action,
}

impl AnswerRules {
    /// From a configuration whose upstreams have these identities.
    pub fn new(config: &Config, ids: &[UpstreamId], groups: &mut Groups) -> Self {
        let identity = |at: &Vec<usize>| -> Vec<UpstreamId> {
            at.iter().filter_map(|at| ids.get(*at)).copied().collect()
        };
        let rules = &config.answer_rules;
        let mut rule = |rule: &crate::config::AnswerRule| Rule {
            qtype: rule.qtype.clone(),
            upstream: Selector {
                include: identity(&rule.upstream.include),
                exclude: identity(&rule.upstream.exclude),
            },
            include: NetSet::new(&rule.ip.include),
            exclude: NetSet::new(&rule.ip.exclude),
            action: match &rule.action {
                AnswerAction::Accept => Action::Accept,
                AnswerAction::Reject => Action::Reject,
                AnswerAction::Ask(candidates) => Action::Ask(groups.group(candidates)),
            },
        };
        let index = rules
            .chunks(MAX_RULES)
            // A chunk is never more than an index takes.
            .filter_map(|rules| DomainIndex::new(rules.iter().map(|rule| &rule.domain)).ok());
        Self {
            index: index.collect(),
            rules: rules.iter().map(&mut rule).collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule may send questions on to this upstream.
    pub fn may_ask(&self, upstream: UpstreamId) -> bool {
        self.rules.iter().any(|rule| match &rule.action {
            Action::Ask(group) => group.upstreams.contains(&upstream),
            Action::Accept | Action::Reject => false,
        })
    }

    /// The first rule that accepts the answer: name and type asked for, who answered, with
    /// which addresses.
    pub fn decide(
        &self,
        name: &str,
        qtype: u16,
        upstream: UpstreamId,
        addresses: &[IpAddr],
    ) -> Option<&Action> {
        let chunks = self.index.iter().zip(self.rules.chunks(MAX_RULES));
        let mut accepting = chunks.filter_map(|(index, rules)| {
            let accepted = index.matches(name);
            let accepts = |(bit, rule): &(usize, &Rule)| {
                accepted.contains(*bit)
                    && rule.qtype.accepts(|only| *only == qtype)
                    && rule.upstream.accepts(|only| *only == upstream)
                    && rule.accepts(addresses)
            };
            rules.iter().enumerate().find(accepts)
        });
        accepting.next().map(|(_, rule)| &rule.action)
    }
}

impl Rule {
    /// Whether one of the addresses is meant; an answer without addresses is meant when no
    /// address is asked for.
    fn accepts(&self, addresses: &[IpAddr]) -> bool {
        let meant = |addr: &IpAddr| {
            (self.include.is_empty() || self.include.contains(*addr))
                && !self.exclude.contains(*addr)
        };
        match addresses {
            [] => self.include.is_empty(),
            _ => addresses.iter().any(meant),
        }
    }
}
