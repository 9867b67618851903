//! `*` What is decided about a flow, and the names that are learnt for it. I/O.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use super::Plumbing;
use crate::flow::Judged;
use crate::kernel::FlowKey;
use crate::rules::image::Decision;
use crate::rules::names::NameUpdate;
use crate::rules::{Flow, Proto};

impl Plumbing {
    /// What was decided about a flow that arrived at our socket.
    pub fn decide(&self, proto: Proto, src: SocketAddr, dst: SocketAddr) -> Judged {
        let key = FlowKey { src, dst, proto };
        let datapath = self.datapath.borrow();
        if let Some(entry) = datapath.as_ref().and_then(|datapath| datapath.flow(&key)) {
            return Judged {
                decision: Decision {
                    rule: entry.rule,
                    verdict: entry.verdict,
                },
                certain: true,
            };
        }
        let flow = Flow {
            src: src.ip(),
            dst: dst.ip(),
            src_port: src.port(),
            dst_port: dst.port(),
            proto,
            dscp: 0,
            src_mac: None,
            interface: None,
        };
        let names = self.names.borrow().vector_of(dst.ip());
        Judged {
            decision: self.image.borrow().classify(&flow, names),
            certain: false,
        }
    }

    /// An answer said that `name` has these addresses.
    pub fn learn(&self, name: Rc<str>, addrs: &[IpAddr], ttl: u32) {
        let mut updates = Vec::new();
        let addrs = addrs.iter().copied();
        self.names
            .borrow_mut()
            .learn(Instant::now(), name, addrs, ttl, &mut updates);
        self.apply(&updates);
    }

    /// Forgets names whose lease has ended.
    pub fn expire_names(&self) {
        let mut updates = Vec::new();
        self.names.borrow_mut().expire(Instant::now(), &mut updates);
        self.apply(&updates);
    }

    fn apply(&self, updates: &[NameUpdate]) {
        if let Some(datapath) = self.datapath.borrow_mut().as_mut()
            && !updates.is_empty()
            && let Err(error) = datapath.apply(updates)
        {
            log::warn!(event = "names", reason:% = error; "");
        }
    }
}
