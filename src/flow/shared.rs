//! What the TCP and the UDP side share: the outbounds, who decides, and the wake-up of the sweep.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::net::notify::Notify;
use crate::outbound::ways::{WayId, Ways};
use crate::rules::{Action, Proto, Verdict};

/// Decides a flow: transport, client, original destination.
pub type Decide = Rc<dyn Fn(Proto, SocketAddr, SocketAddr) -> Verdict>;

/// The index of direct in `Config::outbounds`.
const DIRECT: u16 = 0;

pub(super) struct Shared {
    pub ways: Rc<Ways>,
    pub decide: Decide,
    /// There is something to sweep.
    pub busy: Notify,
}

impl Shared {
    pub fn new(ways: Rc<Ways>, decide: Decide) -> Self {
        Self {
            ways,
            decide,
            busy: Notify::default(),
        }
    }

    /// What a new flow asks for; None when it is blocked.
    pub fn decide(&self, proto: Proto, client: SocketAddr, to: SocketAddr) -> Option<WayId> {
        let verdict = (self.decide)(proto, client, to);
        let outbound = match verdict.action {
            Action::Direct => DIRECT,
            Action::Block => return None,
            Action::Proxy => verdict.outbound,
        };
        self.ways.id(outbound.into())
    }

    /// For the log.
    pub fn name(&self, asked: WayId) -> Box<str> {
        self.ways
            .get(asked)
            .map_or_else(Box::default, |way| way.name.clone())
    }
}

/// True for destinations that were never intercepted: somebody on this machine talks to our
/// listener itself.
pub(super) fn is_own(destination: SocketAddr) -> bool {
    destination.ip().is_loopback() || destination.ip().is_unspecified()
}
