//! What the TCP and the UDP side share: the outbounds, who decides, and the wake-up of the sweep.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::net::notify::Notify;
use crate::outbound::ways::{Way, Ways};
use crate::rules::image::Decision;
use crate::rules::{Action, Proto, Rule};

/// Decides a flow: transport, client, original destination.
pub type Decide = Rc<dyn Fn(Proto, SocketAddr, SocketAddr) -> Judged>;

/// What was decided of a flow.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// By which rule, and what.
    pub decision: Decision,
    /// The kernel said so. Else its entry is gone, and rules by MAC, interface and DSCP could not
    /// be asked: the flow's next packet may bring a better one.
    pub certain: bool,
}

/// The index of direct in `Config::outbounds`.
const DIRECT: u16 = 0;

pub(super) struct Shared {
    pub ways: Rc<Ways>,
    pub decide: Decide,
    /// Names of the rules in force.
    rules: RefCell<Vec<Rc<str>>>,
    /// There is something to sweep.
    pub busy: Notify,
}

/// What a rule said of a flow.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub way: Rc<Way>,
    /// Of the rules in force; None: the default.
    pub rule: Option<u16>,
}

impl Shared {
    pub fn new(ways: Rc<Ways>, rules: &[Rule], decide: Decide) -> Self {
        Self {
            ways,
            decide,
            rules: RefCell::new(names(rules)),
            busy: Notify::default(),
        }
    }

    /// Other rules are in force.
    pub fn set_rules(&self, rules: &[Rule]) {
        self.rules.replace(names(rules));
    }

    /// What a new flow asks for, None when it is blocked; and whether that is certain.
    pub fn decide(
        &self,
        proto: Proto,
        client: SocketAddr,
        to: SocketAddr,
    ) -> (Option<Asked>, bool) {
        if is_own(to) {
            return (None, true);
        }
        let Judged { decision, certain } = (self.decide)(proto, client, to);
        (self.asked(decision), certain)
    }

    fn asked(&self, Decision { rule, verdict }: Decision) -> Option<Asked> {
        let outbound = match verdict.action {
            Action::Direct => DIRECT,
            Action::Block => return None,
            Action::Proxy => verdict.outbound,
        };
        let way = self.ways.get(self.ways.id(outbound.into())?)?;
        Some(Asked { way, rule })
    }

    /// Of a rule in force.
    pub fn rule_name(&self, rule: Option<u16>) -> Option<Rc<str>> {
        let rules = self.rules.borrow();
        rules.get(usize::from(rule?)).cloned()
    }
}

fn names(rules: &[Rule]) -> Vec<Rc<str>> {
    rules.iter().map(|rule| rule.name.as_str().into()).collect()
}

/// True for destinations that were never intercepted: somebody on this machine talks to our
/// listener itself.
fn is_own(destination: SocketAddr) -> bool {
    destination.ip().is_loopback() || destination.ip().is_unspecified()
}
