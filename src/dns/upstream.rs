//! The upstreams as the forwarder knows them: identity, health, counters, addresses. Pure.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::health::Health;
use super::stats::{UpstreamState, UpstreamStats};
use crate::config::{self, Config, Host, Transport};

/// Names an upstream, once and for ever: a changed one gets a new ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub(super) u32);

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// A configured upstream.
    Upstream(UpstreamId),
    /// The server that the client asked.
    AsIs(SocketAddr),
}

/// Addresses of a name are asked for again after their TTL, but not sooner than this.
const LEAST_ADDRESS_LIFE: Duration = Duration::from_secs(30);

/// Most addresses of a name that are used.
const MAX_ADDRESSES: usize = 8;

/// What is known of a server, configured or not.
#[derive(Debug, Default)]
pub struct Known {
    /// For log and status.
    pub name: Rc<str>,
    /// Does it answer?
    pub health: Health,
    /// Counters.
    pub stats: UpstreamStats,
}

impl Known {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// A configured upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its identity.
    pub id: UpstreamId,
    /// What the configuration says.
    pub config: config::Upstream,
    /// What queries have taught.
    pub known: Known,
    /// Where it is.
    pub addresses: Addresses,
}

/// Addresses of an upstream; those of a name come and go.
#[derive(Debug)]
pub struct Addresses {
    known: Vec<SocketAddr>,
    preferred: usize,
    lookup: Option<Lookup>,
}

/// Search for the addresses of a name.
#[derive(Debug)]
struct Lookup {
    port: u16,
    until: Option<Instant>,
    asking: bool,
}

impl Addresses {
    fn new(host: &Host) -> Self {
        match host {
            Host::Addrs(addrs) => Self {
                known: addrs.clone(),
                preferred: 0,
                lookup: None,
            },
            Host::Name { port, .. } => Self {
                known: Vec::new(),
                preferred: 0,
                lookup: Some(Lookup {
                    port: *port,
                    until: None,
                    asking: false,
                }),
            },
        }
    }

    /// The address to ask, the first from the preferred one on that was not tried; old ones are
    /// better than none.
    pub fn find(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let (later, first) = self.known.split_at_checked(self.preferred)?;
        let mut all = first.iter().chain(later);
        all.find(|addr| !tried.contains(addr)).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// This one answered: it is asked first from now on.
    pub fn answered(&mut self, addr: SocketAddr) {
        if let Some(at) = self.known.iter().position(|known| *known == addr) {
            self.preferred = at;
        }
    }

    /// This one did not answer: another is tried next.
    pub fn failed(&mut self, addr: SocketAddr) {
        if self.find(&[]) == Some(addr) {
            self.preferred = (self.preferred + 1) % self.known.len();
        }
    }

    /// Whether the name has to be looked up now; the caller does it.
    pub fn lookup_due(&mut self, now: Instant) -> bool {
        match &mut self.lookup {
            Some(lookup) if !lookup.asking && lookup.until.is_none_or(|until| until <= now) => {
                lookup.asking = true;
                true
            }
            _ => false,
        }
    }

    /// The look-up found these, for `ttl` seconds; with none the old ones stay.
    pub fn found(&mut self, now: Instant, addrs: &[IpAddr], ttl: u32) {
        let Some(lookup) = &mut self.lookup else {
            return;
        };
        lookup.asking = false;
        if addrs.is_empty() {
            return;
        }
        let life = Duration::from_secs(ttl.into()).max(LEAST_ADDRESS_LIFE);
        lookup.until = Some(now + life);
        let port = lookup.port;
        let preferred = self.find(&[]);
        let addrs = addrs.iter().take(MAX_ADDRESSES);
        self.known = addrs.map(|addr| SocketAddr::new(*addr, port)).collect();
        // One that has proved itself stays the first.
        let place = self.known.iter().position(|addr| Some(*addr) == preferred);
        self.preferred = place.unwrap_or(0);
    }
}

/// All of them.
#[derive(Debug)]
pub struct Upstreams {
    list: Vec<Upstream>,
    /// Those that the last reload took away: flights under way may still ask them.
    retired: Vec<Upstream>,
    /// The servers that clients ask, together.
    asis: Known,
    next: u32,
}

impl Upstreams {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let mut upstreams = Self {
            list: Vec::new(),
            retired: Vec::new(),
            asis: Known::new("asis"),
            next: 0,
        };
        upstreams.configure(config, &[]);
        upstreams
    }

    /// Takes over a configuration: what is written as before keeps its identity and health.
    /// `moved` has by old outbound the same one's new index; an upstream by way of one that is
    /// gone is another one. True when nothing is different.
    pub fn configure(&mut self, config: &Config, moved: &[Option<usize>]) -> bool {
        let mut old = std::mem::take(&mut self.list);
        let now = |outbound: usize| moved.get(outbound).copied().flatten();
        let gone: Vec<Upstream> = old
            .extract_if(.., |upstream| now(upstream.config.outbound).is_none())
            .collect();
        for upstream in &mut old {
            if let Some(outbound) = now(upstream.config.outbound) {
                upstream.config.outbound = outbound;
            }
        }
        let before = old.iter().map(|upstream| &upstream.config);
        let same = gone.is_empty() && before.eq(&config.upstreams);
        for wanted in &config.upstreams {
            let same = old.iter().position(|upstream| upstream.config == *wanted);
            let upstream = match same {
                Some(at) => old.swap_remove(at),
                None => {
                    let id = UpstreamId(self.next);
                    self.next += 1;
                    Upstream {
                        id,
                        known: Known::new(&wanted.name),
                        addresses: Addresses::new(&wanted.host),
                        config: wanted.clone(),
                    }
                }
            };
            self.list.push(upstream);
        }
        old.extend(gone);
        self.retired = old;
        same
    }

    /// Those of the configuration, in its order.
    pub fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.list.iter()
    }

    /// Identities in the order of the configuration.
    pub fn ids(&self) -> Vec<UpstreamId> {
        self.list.iter().map(|upstream| upstream.id).collect()
    }

    /// A configured upstream, or one that was until the last reload.
    pub fn get(&self, id: UpstreamId) -> Option<&Upstream> {
        let mut all = self.list.iter().chain(&self.retired);
        all.find(|upstream| upstream.id == id)
    }

    /// See [`Self::get`].
    pub fn get_mut(&mut self, id: UpstreamId) -> Option<&mut Upstream> {
        let mut all = self.list.iter_mut().chain(&mut self.retired);
        all.find(|upstream| upstream.id == id)
    }

    /// What is known of a server; of one long gone what is known of those asked `asis`, where
    /// it does no harm.
    pub fn known(&mut self, server: Server) -> &mut Known {
        let found = match server {
            Server::Upstream(id) => {
                let mut all = self.list.iter_mut().chain(&mut self.retired);
                all.find(|upstream| upstream.id == id)
            }
            Server::AsIs(_) => None,
        };
        match found {
            Some(upstream) => &mut upstream.known,
            None => &mut self.asis,
        }
    }

    /// How a server is spoken to; one asked by a client is known to speak UDP and, as every
    /// server must (RFC 7766), TCP.
    pub fn transport(&self, server: Server) -> Transport {
        let upstream = match server {
            Server::Upstream(id) => self.get(id),
            Server::AsIs(_) => None,
        };
        upstream.map_or(Transport::TcpUdp, |upstream| upstream.config.transport)
    }

    /// Where to ask: the first address from the preferred one on that was not tried.
    pub fn addr(&self, server: Server, tried: &[SocketAddr]) -> Option<SocketAddr> {
        match server {
            Server::Upstream(id) => self.get(id)?.addresses.find(tried),
            Server::AsIs(addr) => Some(addr),
        }
    }

    /// Counters in the order of the configuration, then the servers asked `asis`.
    pub fn stats(&self) -> Vec<UpstreamStats> {
        let listed = self.list.iter().map(|upstream| &upstream.known);
        let all = listed.chain([&self.asis]);
        all.map(|known| UpstreamStats {
            name: known.name.to_string(),
            state: if known.health.is_down() {
                UpstreamState::Down
            } else {
                UpstreamState::Up
            },
            udp_dead: known.health.is_udp_dead(),
            latency_ms: known
                .health
                .latency()
                .map(|latency| latency.as_secs_f64() * 1000.0)
                .map(|ms| (ms * 10.0).round() / 10.0),
            ..known.stats.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "config dae 'main'\nconfig dns 'dns'\n\tlist upstream 'near'\n\
        config node 'one'\n\toption url 'socks5://192.0.2.1:1080'\n\
        config node 'two'\n\toption url 'socks5://192.0.2.2:1080'\n\
        config upstream 'near'\n\toption url 'udp://192.0.2.53'\n\
        config upstream 'far'\n\toption url 'tcp://192.0.2.54'\n\toption outbound 'two'\n";
    const ONE: &str = "config node 'one'\n\toption url 'socks5://192.0.2.1:1080'\n";

    /// Whether all is the same after a change of the file, and each upstream is.
    fn kept(from: &str, to: &str) -> (bool, [bool; 2]) {
        let parse = |text: &str| Config::parse("test", text.as_bytes()).unwrap();
        let (old, new) = (parse(FILE), parse(&FILE.replace(from, to)));
        let mut upstreams = Upstreams::new(&old);
        let before = upstreams.ids();
        let same = upstreams.configure(&new, &old.moved_outbounds(&new));
        let after = upstreams.ids();
        (same, [0, 1].map(|at| before[at] == after[at]))
    }

    #[test]
    fn an_upstream_is_known_by_what_its_outbound_is() {
        assert_eq!(kept(" ", " "), (true, [true, true]));
        // The node has another number now.
        assert_eq!(kept(ONE, ""), (true, [true, true]));
        // Of the same name and number, but another server.
        assert_eq!(kept("192.0.2.2:", "192.0.2.9:"), (false, [true, false]));
        // Of the same number, but another node.
        let swapped = kept("outbound 'two'", "outbound 'one'");
        assert_eq!(swapped, (false, [true, false]));
    }
}
