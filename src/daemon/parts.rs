//! `*` The parts that serve the LAN: the relay of flows, the DNS server.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use futures_lite::future;

use super::listeners::Listeners;
use super::plumbing::Plumbing;
use crate::error::{IoContext as _, Result};
use crate::net::reply::Replier;
use crate::outbound::ways::Ways;
use crate::rules::Proto;
use crate::{dns, flow};

/// What serves the LAN.
pub struct Parts {
    /// Relays flows; none in a configuration without interfaces.
    pub flow: Option<Rc<flow::Proxy>>,
    /// Answers DNS.
    pub dns: Option<Rc<dns::Server>>,
    /// What flows and queries leave by.
    pub ways: Rc<Ways>,
    flow_listeners: flow::Listeners,
}

impl Parts {
    /// Makes them, not yet running.
    pub fn make(plumbing: &Rc<Plumbing>, listeners: Listeners) -> Result<Self> {
        let config = &*plumbing.config();
        let replier = if config.main.interfaces.is_empty() {
            None
        } else {
            let replier = Replier::new();
            Some(Rc::new(
                replier.context(|| "open the raw sockets of UDP answers")?,
            ))
        };
        let shared = plumbing.clone();
        let decide = Rc::new(move |proto: Proto, src: SocketAddr, dst: SocketAddr| {
            shared.decide(proto, src, dst)
        });
        let ways = Ways::new(config, seed(), Instant::now());
        let flow = replier
            .clone()
            .map(|replier| Rc::new(flow::Proxy::new(config, ways.clone(), replier, decide)));
        let dns = if config.dns.enabled {
            let shared = plumbing.clone();
            let learn =
                Rc::new(move |name: Rc<str>, addrs: &[IpAddr], ttl| shared.learn(name, addrs, ttl));
            Some(dns::Server::new(
                config,
                ways.clone(),
                listeners.dns,
                replier,
                learn,
            )?)
        } else {
            None
        };
        Ok(Self {
            flow,
            dns,
            ways,
            flow_listeners: listeners.flow,
        })
    }

    /// Serves for ever.
    pub async fn run(&mut self) -> Result<()> {
        let listeners = std::mem::take(&mut self.flow_listeners);
        let flow = async {
            match &self.flow {
                Some(flow) => flow.clone().run(listeners).await.context(|| "relay flows"),
                None => future::pending().await,
            }
        };
        let dns = async {
            match &self.dns {
                Some(dns) => {
                    dns.clone().run().await;
                    Ok(())
                }
                None => future::pending().await,
            }
        };
        future::or(flow, dns).await
    }
}

/// For jitter and policy `random`; nothing secret hangs on it.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}
