//! The meaning of rules, said literally: one after the other, option by option. [`super::image`]
//! is held to it by property tests, [`super::explain`] tells it in words.

use super::image::Decision;
use super::{Flow, Rule, Verdict};

/// An option of a rule that a flow is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// `option proto`.
    Proto,
    /// `option family`.
    Family,
    /// `list interface`.
    Interface,
    /// `list src_ip`.
    SrcIp,
    /// `list src_mac`.
    SrcMac,
    /// `option src_port`.
    SrcPort,
    /// `list dest_ip`.
    DestIp,
    /// `list domain`.
    Domain,
    /// `option dest_port`.
    DestPort,
    /// `option dscp`.
    Dscp,
}

impl Dimension {
    /// In the order that they are told in.
    pub const ALL: [Self; 10] = [
        Self::Proto,
        Self::Family,
        Self::Interface,
        Self::SrcIp,
        Self::SrcMac,
        Self::SrcPort,
        Self::DestIp,
        Self::Domain,
        Self::DestPort,
        Self::Dscp,
    ];

    /// Whether this option of `rule` accepts the flow. `names` are the live names of its
    /// destination.
    pub fn accepts<N: AsRef<str>>(self, rule: &Rule, flow: &Flow, names: &[N]) -> bool {
        match self {
            Self::Proto => rule.proto.accepts(|proto| *proto == flow.proto),
            Self::Family => rule.family.accepts(|family| *family == flow.family()),
            Self::Interface => rule
                .interface
                .accepts(|index| Some(*index) == flow.interface),
            Self::SrcIp => rule.src_ip.accepts(|net| net.contains(flow.src)),
            Self::SrcMac => rule.src_mac.accepts(|mac| Some(*mac) == flow.src_mac),
            Self::SrcPort => rule.src_port.accepts(|range| range.contains(flow.src_port)),
            Self::DestIp => rule.dest_ip.accepts(|net| net.contains(flow.dst)),
            Self::Domain => {
                let accepts = |name: &str| rule.domain.accepts(|pattern| pattern.matches(name));
                match names {
                    [] => rule.domain.include.is_empty(),
                    names => names.iter().any(|name| accepts(name.as_ref())),
                }
            }
            Self::DestPort => rule
                .dest_port
                .accepts(|range| range.contains(flow.dst_port)),
            Self::Dscp => rule.dscp.accepts(|dscp| *dscp == flow.dscp),
        }
    }
}

/// The first option of `rule` that rejects the flow, or none: the rule matches.
pub fn rejected_by<N: AsRef<str>>(rule: &Rule, flow: &Flow, names: &[N]) -> Option<Dimension> {
    Dimension::ALL
        .into_iter()
        .find(|dimension| !dimension.accepts(rule, flow, names))
}

/// The first rule that matches decides. `names` are the live names of the destination, lower
/// case and without a final dot.
pub fn classify<N: AsRef<str>>(
    rules: &[Rule],
    default: Verdict,
    flow: &Flow,
    names: &[N],
) -> Decision {
    let matching = rules
        .iter()
        .position(|rule| rejected_by(rule, flow, names).is_none());
    match matching {
        Some(rule) => Decision {
            rule: Some(rule as u16),
            verdict: rules[rule].verdict,
        },
        None => Decision {
            rule: None,
            verdict: default,
        },
    }
}
