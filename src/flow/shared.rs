//! What the TCP and the UDP side share: the outbounds, who decides, and the wake-up of the sweep.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::relay::Traffic;
use crate::config;
use crate::outbound::Outbound;
use crate::outbound::group::first_way;
use crate::rules::{Action, Proto, Verdict};

/// Decides a flow: transport, client, original destination.
pub type Decide = Rc<dyn Fn(Proto, SocketAddr, SocketAddr) -> Verdict>;

/// The index of direct in `Config::outbounds`.
const DIRECT: u16 = 0;

/// An outbound with its name and its bytes.
#[derive(Debug)]
pub(super) struct Way {
    pub name: String,
    pub outbound: Outbound,
    pub traffic: Traffic,
}

pub(super) struct Shared {
    pub ways: Vec<Way>,
    pub decide: Decide,
    pub busy: Signal,
}

impl Shared {
    pub fn new(outbounds: &[config::Outbound], decide: Decide) -> Self {
        let way = |(index, outbound): (usize, &config::Outbound)| Way {
            name: outbound.name.clone(),
            // Nothing is known of nodes yet, so a group is the first that its policy chooses.
            outbound: Outbound::new(first_way(outbounds, index).unwrap_or(&outbound.kind)),
            traffic: Traffic::default(),
        };
        let ways = outbounds.iter().enumerate().map(way).collect();
        Self {
            ways,
            decide,
            busy: Signal::default(),
        }
    }

    /// The outbound of a new flow, as an index into `Config::outbounds`; None when it is blocked.
    pub fn decide(&self, proto: Proto, client: SocketAddr, to: SocketAddr) -> Option<u16> {
        let verdict = (self.decide)(proto, client, to);
        match verdict.action {
            Action::Direct => Some(DIRECT),
            Action::Block => None,
            Action::Proxy => Some(verdict.outbound),
        }
    }

    pub fn way(&self, outbound: u16) -> Option<&Way> {
        self.ways.get(usize::from(outbound))
    }
}

/// True for destinations that were never intercepted: somebody on this machine talks to our
/// listener itself.
pub(super) fn is_own(destination: SocketAddr) -> bool {
    destination.ip().is_loopback() || destination.ip().is_unspecified()
}

/// Tells one waiter that there is work.
#[derive(Debug, Default)]
pub(super) struct Signal {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub fn set(&self) {
        self.set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until it is set, and clears it.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.set.take() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
