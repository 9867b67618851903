//! How to reach each upstream by stream: which way out, and what is spoken. I/O.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::config::{Config, Host, Roots, Tls, Transport, Upstream};
use crate::dns::http2;
use crate::dns::upstream::{Server, UpstreamId};
use crate::error::{IoContext, Result};
use crate::net::dial::within;
use crate::net::reactor::Source;
use crate::net::tls::{self, Anchors, Checks};
use crate::outbound::dial::{self, Carrier};
use crate::outbound::ways::{WayId, Ways};
use crate::outbound::{DIAL_LIMIT, DialError};

/// A connection without a query is closed after this time. A handshake of TLS is dear for
/// the processor of a router, so such a connection is kept for longer.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_TLS: Duration = Duration::from_secs(20);

/// The index of direct in `Config::outbounds`.
const DIRECT: usize = 0;

/// Every upstream's [`Reach`].
#[derive(Debug)]
pub struct Reaches {
    upstreams: HashMap<UpstreamId, Rc<Reach>>,
    /// Servers that clients asked.
    asis: Rc<Reach>,
}

/// The way to one upstream.
#[derive(Debug)]
pub struct Reach {
    /// For the log.
    pub name: Box<str>,
    ways: Rc<Ways>,
    /// None when it was gone at once.
    asked: Option<WayId>,
    speech: Speech,
}

#[derive(Debug)]
enum Speech {
    Tcp,
    Tls(tls::Client),
    Https {
        tls: tls::Client,
        target: http2::Target,
    },
}

/// An open connection.
pub enum Wire {
    Plain(Source<TcpStream>),
    Tls(Box<tls::Stream>),
}

impl Reaches {
    /// What an earlier table knows of an upstream stays, sessions to resume above all; so
    /// does an upstream that is still `used` though it is not configured any more. Those that
    /// are reached in another way now.
    pub fn take_over(
        &mut self,
        earlier: &Self,
        used: impl Fn(UpstreamId) -> bool,
    ) -> Vec<UpstreamId> {
        let mut changed = Vec::new();
        for (id, known) in &earlier.upstreams {
            match self.upstreams.get_mut(id) {
                Some(reach) if reach.asked == known.asked => *reach = Rc::clone(known),
                Some(_) => changed.push(*id),
                None if used(*id) => drop(self.upstreams.insert(*id, Rc::clone(known))),
                None => {}
            }
        }
        changed
    }

    /// The way to a server; None when it is not configured any more.
    pub fn get(&self, server: Server) -> Option<&Rc<Reach>> {
        match server {
            Server::Upstream(id) => self.upstreams.get(&id),
            Server::AsIs(_) => Some(&self.asis),
        }
    }
}

/// A table that lacks the names of its upstreams.
#[derive(Debug)]
pub struct Prepared(Vec<Named>);

/// What is spoken to an upstream, and its index among the outbounds.
#[derive(Debug)]
struct Named {
    name: Box<str>,
    outbound: usize,
    speech: Speech,
}

impl Prepared {
    /// Of all upstreams of a configuration. An error when a file with roots cannot be used.
    pub fn new(config: &Config) -> Result<Self> {
        let mut files = HashMap::new();
        let prepare = |upstream: &Upstream| {
            let what = || format!("prepare upstream '{}'", upstream.name);
            Ok(Named {
                name: upstream.name.as_str().into(),
                outbound: upstream.outbound,
                speech: Speech::new(upstream, &mut files).context(what)?,
            })
        };
        let all = config.upstreams.iter().map(prepare);
        Ok(Self(all.collect::<Result<_>>()?))
    }

    /// The table, with names in the order of the configuration, whose outbounds `ways` has.
    pub fn name(self, ids: impl Iterator<Item = UpstreamId>, ways: &Rc<Ways>) -> Reaches {
        let reach = |name, outbound, speech| {
            Rc::new(Reach {
                name,
                ways: Rc::clone(ways),
                asked: ways.id(outbound),
                speech,
            })
        };
        let of = |named: Named| reach(named.name, named.outbound, named.speech);
        Reaches {
            upstreams: ids.zip(self.0.into_iter().map(of)).collect(),
            asis: reach("asis".into(), DIRECT, Speech::Tcp),
        }
    }
}

impl Speech {
    fn new(upstream: &Upstream, files: &mut HashMap<PathBuf, Anchors>) -> io::Result<Self> {
        match (&upstream.tls, upstream.transport) {
            (Some(tls), Transport::Tls) => {
                let client = tls::Client::new(&tls.name, checks(tls, files)?, b"")?;
                Ok(Self::Tls(client))
            }
            (Some(tls), Transport::Https) => {
                let client = tls::Client::new(&tls.name, checks(tls, files)?, b"h2")?;
                let authority = authority(&upstream.host, &tls.name);
                Ok(Self::Https {
                    tls: client,
                    target: http2::Target::new(&authority, &upstream.path)?,
                })
            }
            _ => Ok(Self::Tcp),
        }
    }
}

/// What the server has to show.
fn checks(tls: &Tls, files: &mut HashMap<PathBuf, Anchors>) -> io::Result<Checks> {
    let mut read = |path: &Path| match files.get(path) {
        Some(anchors) => Ok(anchors.clone()),
        None => tls::read_roots(path).inspect(|anchors| {
            files.insert(path.to_owned(), anchors.clone());
        }),
    };
    let anchors = match &tls.roots {
        _ if !tls.verify => None,
        Roots::Bundled => Some(Anchors::Bundled),
        Roots::System => Some(read(Path::new(tls::SYSTEM_ROOTS))?),
        Roots::File(path) => Some(read(path)?),
    };
    Ok(Checks {
        anchors,
        pins: tls.pins.clone(),
    })
}

/// Name and port as in a URL (RFC 3986, section 3.2); port 443 goes without saying.
fn authority(host: &Host, name: &str) -> String {
    let (name, port) = match host {
        Host::Name { name, port } => (&**name, *port),
        Host::Addrs(addrs) => (name, addrs.first().map_or(443, SocketAddr::port)),
    };
    let name = match name.contains(':') {
        true => format!("[{name}]"),
        false => name.to_owned(),
    };
    match port {
        443 => name,
        _ => format!("{name}:{port}"),
    }
}

impl Reach {
    /// How long a connection is kept without a query.
    pub fn idle(&self) -> Duration {
        match self.speech {
            Speech::Tcp => IDLE,
            Speech::Tls(_) | Speech::Https { .. } => IDLE_TLS,
        }
    }

    /// Whom to ask when HTTP/2 is spoken.
    pub fn http(&self) -> Option<&http2::Target> {
        match &self.speech {
            Speech::Https { target, .. } => Some(target),
            Speech::Tcp | Speech::Tls(_) => None,
        }
    }

    /// Opens a connection, TLS included, within [`DIAL_LIMIT`]; what carries it. `moved` is called when TCP is
    /// up and TLS begins.
    pub async fn open(
        &self,
        addr: SocketAddr,
        moved: impl Fn(),
    ) -> Result<(Carrier, Wire), DialError> {
        within(DIAL_LIMIT, async {
            let asked = self.asked.ok_or(DialError::Gone)?;
            let (carrier, tcp) = dial::tcp(&self.ways, asked, addr).await?;
            let client = match &self.speech {
                Speech::Tcp => return Ok((carrier, Wire::Plain(tcp))),
                Speech::Tls(client) | Speech::Https { tls: client, .. } => client,
            };
            moved();
            let wire = Wire::Tls(Box::new(client.connect(tcp).await?));
            Ok((carrier, wire))
        })
        .await
    }
}

impl Wire {
    /// Waits for bytes; 0 at the end.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => (&mut &*tcp).read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    /// Hands all bytes to the kernel.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => (&mut &*tcp).write_all(bytes).await,
            Self::Tls(stream) => stream.write_all(bytes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_that_of_the_url() {
        let name = Host::Name {
            name: "dns.example".into(),
            port: 443,
        };
        let addrs = |text: &str| Host::Addrs(vec![text.parse().unwrap()]);
        for (host, tls_name, expected) in [
            (name, "other.example", "dns.example"),
            (addrs("192.0.2.1:443"), "dns.example", "dns.example"),
            (addrs("192.0.2.1:8443"), "192.0.2.1", "192.0.2.1:8443"),
            (addrs("[2001:db8::1]:443"), "2001:db8::1", "[2001:db8::1]"),
        ] {
            assert_eq!(authority(&host, tls_name), expected);
        }
    }
}
