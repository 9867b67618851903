//! `*` The sockets that the kernel program hands packets to, the local DNS listeners, and that
//! of the metrics.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Config;
use crate::control::http::Endpoint;
use crate::error::{IoContext as _, Result};
use crate::kernel::Ports;
use crate::net::listen;
use crate::rules::{Family, Proto};
use crate::{dns, flow};

/// All listeners, open.
pub struct Listeners {
    /// Of relayed flows.
    pub flow: flow::Listeners,
    /// Of DNS.
    pub dns: dns::Listeners,
    /// What the kernel program must know.
    pub ports: Ports,
    /// Of those who read metrics.
    pub metrics: Option<Endpoint>,
}

impl Listeners {
    /// Opens them: transparent ones on loopback when there is an interface to listen behind,
    /// IPv6 where the kernel has it, local ones as configured.
    pub fn open(config: &Config) -> Result<Self> {
        let mut all = Self {
            flow: flow::Listeners::default(),
            dns: dns::Listeners::default(),
            ports: Ports::default(),
            metrics: config.main.metrics.map(Endpoint::open).transpose()?,
        };
        if !config.main.interfaces.is_empty() {
            all.open_family(config.dns.enabled, Family::V4, Ipv4Addr::LOCALHOST.into())
                .context(
                    || "open transparent listeners on 127.0.0.1 (needs root, or CAP_NET_ADMIN)",
                )?;
            if let Err(error) =
                all.open_family(config.dns.enabled, Family::V6, Ipv6Addr::LOCALHOST.into())
            {
                log::info!(event = "listen", reason:% = error; "no IPv6 here, it passes untouched");
            }
        }
        if config.dns.enabled {
            for addr in &config.dns.listen {
                all.open_local(*addr)
                    .context(|| format!("listen for DNS on {addr}"))?;
            }
        }
        Ok(all)
    }

    fn open_family(&mut self, dns: bool, family: Family, loopback: IpAddr) -> io::Result<()> {
        let udp = listen::transparent_udp(loopback)?;
        self.note(Proto::Udp, family, false, udp.local_addr()?);
        self.flow.udp.push(udp);
        let tcp = listen::transparent_tcp(loopback)?;
        self.note(Proto::Tcp, family, false, tcp.local_addr()?);
        self.flow.tcp.push(tcp);
        if dns {
            let udp = listen::transparent_udp(loopback)?;
            self.note(Proto::Udp, family, true, udp.local_addr()?);
            self.dns.transparent_udp.push(udp);
            let tcp = listen::transparent_tcp(loopback)?;
            self.note(Proto::Tcp, family, true, tcp.local_addr()?);
            self.dns.transparent_tcp.push(tcp);
        }
        Ok(())
    }

    fn note(&mut self, proto: Proto, family: Family, dns: bool, addr: SocketAddr) {
        self.ports = self.ports.with(proto, family, dns, addr.port());
    }

    fn open_local(&mut self, addr: SocketAddr) -> io::Result<()> {
        self.dns.local_udp.push(listen::plain_udp(addr)?);
        self.dns.local_tcp.push(listen::plain_tcp(addr)?);
        Ok(())
    }
}
