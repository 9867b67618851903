//! Flows as the kernel's cache knows them, and what of them a change of rules leaves. Pure.

use std::net::SocketAddr;

use super::abi::{self, Count, FlowKeyValue, FlowValue};
use super::fill::verdict_value;
use crate::rules::image::Image;
use crate::rules::{Action, Kept, Proto, Verdict};

/// A flow, as the kernel's cache knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The client.
    pub src: SocketAddr,
    /// Where it wants to go.
    pub dst: SocketAddr,
    /// Transport.
    pub proto: Proto,
}

/// What the kernel decided about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEntry {
    /// The rule; none: the default, or no rule was asked.
    pub rule: Option<u16>,
    /// The verdict.
    pub verdict: Verdict,
}

impl From<&FlowKey> for FlowKeyValue {
    fn from(key: &FlowKey) -> Self {
        Self {
            src: key.src.ip().into(),
            dst: key.dst.ip().into(),
            src_port: key.src.port().to_be_bytes(),
            dst_port: key.dst.port().to_be_bytes(),
            proto: match key.proto {
                Proto::Tcp => libc::IPPROTO_TCP as u8,
                Proto::Udp => libc::IPPROTO_UDP as u8,
            },
            pad: [0; 3],
        }
    }
}

impl From<FlowValue> for FlowEntry {
    fn from(value: FlowValue) -> Self {
        Self {
            rule: (u32::from(value.counter) < abi::RULES).then_some(value.counter),
            verdict: Verdict {
                action: match value.action {
                    abi::BLOCK => Action::Block,
                    abi::PROXY => Action::Proxy,
                    _ => Action::Direct,
                },
                outbound: value.outbound,
                mark: value.mark,
            },
        }
    }
}

/// The entry with which a flow goes on under other rules; None: it is decided anew.
///
/// A TCP connection keeps its way: a direct one its mark, one of a rule that is still there
/// that rule. UDP has no beginning, so a flow is decided anew unless nothing would decide
/// otherwise.
pub(super) fn carried(
    key: &FlowKeyValue,
    value: &FlowValue,
    kept: &Kept,
    image: &Image,
) -> Option<FlowValue> {
    let is_tcp = i32::from(key.proto) == libc::IPPROTO_TCP;
    if !is_tcp && !kept.all {
        return None;
    }
    let rule = kept.rule(usize::from(value.counter));
    let decided = match rule.and_then(|new| Some((new, image.verdicts.get(usize::from(new))?))) {
        Some((new, verdict)) => Some((new, verdict)),
        None if value.counter == Count::Default as u16 && kept.default => {
            Some((value.counter, &image.default))
        }
        None => None,
    };
    if let Some((counter, verdict)) = decided {
        let verdict = verdict_value(verdict);
        return Some(FlowValue {
            mark: verdict.mark,
            counter,
            outbound: verdict.outbound,
            action: verdict.action,
            ..*value
        });
    }
    (is_tcp && value.action == abi::DIRECT).then_some(FlowValue {
        counter: Count::Midstream as u16,
        outbound: 0,
        ..*value
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rule;

    const OLD: u16 = 1;
    const NEW: u16 = 0;

    fn key(proto: Proto) -> FlowKeyValue {
        let addr = "192.0.2.1:1".parse().unwrap();
        let (src, dst) = (addr, addr);
        (&FlowKey { src, dst, proto }).into()
    }

    fn value(counter: u32, action: u8) -> FlowValue {
        FlowValue {
            mark: 7,
            epoch: 3,
            counter: counter as u16,
            outbound: 9,
            action,
            pad: [0; 3],
        }
    }

    /// Old rule 0 is gone, old rule 1 is rule 0 now, with an outbound of another number.
    fn after(proto: Proto, value: FlowValue, kept: &Kept) -> Option<FlowValue> {
        let verdict = Verdict {
            action: Action::Proxy,
            outbound: 4,
            mark: 0,
        };
        let rule = Rule {
            verdict,
            ..Rule::default()
        };
        let image = Image::compile(&[rule], Verdict::default(), 1).unwrap();
        carried(&key(proto), &value, kept, &image)
    }

    fn kept() -> Kept {
        Kept::find(2, 1, true, |old, _| old == usize::from(OLD))
    }

    #[test]
    fn a_connection_keeps_its_way() {
        let now = after(Proto::Tcp, value(OLD.into(), abi::PROXY), &kept()).unwrap();
        assert_eq!((now.counter, now.outbound, now.mark), (NEW, 4, 0));
        assert_eq!((now.epoch, now.action), (3, abi::PROXY));
        let other = after(Proto::Tcp, value(OLD.into(), abi::DIRECT), &kept()).unwrap();
        assert_eq!(other, now, "the new verdict is what counts");
        // Of a rule that is gone: found by its socket, or a packet in the middle of a stream.
        assert_eq!(after(Proto::Tcp, value(0, abi::PROXY), &kept()), None);
        assert_eq!(after(Proto::Tcp, value(0, abi::BLOCK), &kept()), None);
        let marked = after(Proto::Tcp, value(0, abi::DIRECT), &kept()).unwrap();
        assert_eq!(u32::from(marked.counter), Count::Midstream as u32);
        assert_eq!((marked.mark, marked.outbound), (7, 0));
        let default = value(abi::RULES, abi::DIRECT);
        let now = after(Proto::Tcp, default, &kept()).unwrap();
        assert_eq!((u32::from(now.counter), now.mark), (abi::RULES, 0));
        let other = Kept {
            default: false,
            ..kept()
        };
        let now = after(Proto::Tcp, default, &other).unwrap();
        assert_eq!(u32::from(now.counter), Count::Midstream as u32);
    }

    #[test]
    fn datagrams_are_decided_anew_unless_nothing_has_changed() {
        let stays = value(OLD.into(), abi::PROXY);
        assert_eq!(after(Proto::Udp, stays, &kept()), None, "another may match");
        let all = Kept::everything(1);
        let now = after(Proto::Udp, value(0, abi::PROXY), &all).unwrap();
        assert_eq!((now.counter, now.outbound), (0, 4));
        let default = after(Proto::Udp, value(abi::RULES, abi::DIRECT), &all).unwrap();
        assert_eq!(u32::from(default.counter), abi::RULES);
        let of_no_rule = value(Count::Midstream as u32, abi::DIRECT);
        assert_eq!(after(Proto::Udp, of_no_rule, &all), None);
    }

    #[test]
    fn an_entry_tells_rule_and_verdict() {
        let told = |counter, action| {
            let entry = FlowEntry::from(value(counter, action));
            let verdict = entry.verdict;
            assert_eq!((verdict.outbound, verdict.mark), (9, 7));
            (entry.rule, verdict.action)
        };
        assert_eq!(told(0, abi::PROXY), (Some(0), Action::Proxy));
        let last = abi::RULES - 1;
        assert_eq!(told(last, abi::BLOCK), (Some(last as u16), Action::Block));
        assert_eq!(told(abi::RULES, abi::DIRECT), (None, Action::Direct));
    }
}
