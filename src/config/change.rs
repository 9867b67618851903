//! What a new configuration changes, and how much of it a running daemon takes over. Pure.
//!
//! Nearly everything can change at any time. Sockets that were opened at the start cannot: what
//! hangs on them waits for a restart, and is named.

use super::types::{Config, Dns, Main, OutboundKind};
use crate::rules::{Kept, Rule, Selector, Verdict};

/// The index of block in [`Config::outbounds`].
const BLOCK: usize = 1;

/// What comes of a new configuration in a running daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The settings to go on with.
    pub config: Config,
    /// What is written differently and not in `config`, as `section.option`: `dns.listen`.
    pub restart: Vec<&'static str>,
    /// What the rules have in common with those before; None when every number in them is the
    /// same, so that whatever was made of them will do.
    pub rules: Option<Kept>,
}

impl Config {
    /// Takes over from `wanted` what can change while everything runs.
    pub fn change_to(&self, wanted: Self) -> Change {
        let mut config = wanted;
        let mut restart = self.keep_main(&mut config.main);
        restart.extend(self.keep_dns(&mut config));
        let rules = self.rules_differ(&config).then(|| self.kept_rules(&config));
        Change {
            config,
            restart,
            rules,
        }
    }

    /// Puts back what a running daemon cannot change of `config dae`; names what differs.
    fn keep_main(&self, wanted: &mut Main) -> Vec<&'static str> {
        // Every field by name: a new one has to be thought of here.
        let Main {
            enabled,
            interfaces,
            log_level: _,
            default: _,
            attach: _,
            kill_switch: _,
            max_flows: _,
            max_names: _,
            max_udp_sessions: _,
            max_tcp_connections: _,
            tcp_idle: _,
            udp_idle: _,
            udp_idle_dns: _,
            udp_idle_quic: _,
            drain: _,
            leasefile: _,
            metrics,
        } = &self.main;
        let mut restart = Vec::new();
        keep(enabled, &mut wanted.enabled, "dae.enabled", &mut restart);
        keep(metrics, &mut wanted.metrics, "dae.metrics", &mut restart);
        // Without interfaces there are no sockets that flows could be handed to.
        if interfaces.is_empty() != wanted.interfaces.is_empty() {
            restart.push("dae.interface");
            wanted.interfaces.clone_from(interfaces);
        }
        restart
    }

    /// The same of DNS. Switched off or on it needs other sockets, and goes on as it was.
    fn keep_dns(&self, config: &mut Self) -> Vec<&'static str> {
        let mut restart = Vec::new();
        if self.dns.enabled != config.dns.enabled {
            restart.push("dns.enabled");
            if self.dns.listen != config.dns.listen {
                restart.push("dns.listen");
            }
            config.dns = self.dns.clone();
            config.upstreams.clone_from(&self.upstreams);
            let now = self.by_name(config);
            for upstream in &mut config.upstreams {
                // What is gone must not become direct.
                let outbound = now.get(upstream.outbound).copied().flatten();
                upstream.outbound = outbound.unwrap_or(BLOCK);
            }
            config.dns_rules.clone_from(&self.dns_rules);
            config.answer_rules.clone_from(&self.answer_rules);
            config.dns_hosts.clone_from(&self.dns_hosts);
            config.dns_ttls.clone_from(&self.dns_ttls);
            return restart;
        }
        let Dns { listen, .. } = &self.dns;
        keep(listen, &mut config.dns.listen, "dns.listen", &mut restart);
        restart
    }

    /// For each of our outbounds the other's index of the one of its name.
    fn by_name(&self, other: &Self) -> Vec<Option<usize>> {
        let named = |name: &str| other.outbounds.iter().position(|it| it.name == name);
        self.outbounds.iter().map(|it| named(&it.name)).collect()
    }

    /// For each of our outbounds the other's index of the one that is the same: of its name and,
    /// unless it is a group, with its settings. What is in a group does not make it another one.
    pub fn moved_outbounds(&self, other: &Self) -> Vec<Option<usize>> {
        let is_group = |kind: &OutboundKind| matches!(kind, OutboundKind::Group(_));
        let by_name = self.by_name(other);
        let pairs = self.outbounds.iter().zip(by_name);
        let same = pairs.map(|(our, at)| {
            let now = &other.outbounds.get(at?)?.kind;
            let groups = is_group(&our.kind) && is_group(now);
            (groups || our.kind == *now).then_some(at?)
        });
        same.collect()
    }

    fn rules_differ(&self, now: &Self) -> bool {
        self.rules != now.rules
            || self.main.default != now.main.default
            || self.main.interfaces.len() != now.main.interfaces.len()
    }

    fn kept_rules(&self, now: &Self) -> Kept {
        let names = Names {
            outbounds: self.by_name(now),
            interfaces: (&self.main.interfaces, &now.main.interfaces),
        };
        let default = names.lead_alike(&self.main.default, &now.main.default);
        let same = |old: usize, new: usize| names.say_alike(&self.rules[old], &now.rules[new]);
        Kept::find(self.rules.len(), now.rules.len(), default, same)
    }
}

/// What the numbers in rules mean.
struct Names<'a> {
    outbounds: Vec<Option<usize>>,
    interfaces: (&'a [String], &'a [String]),
}

impl Names<'_> {
    fn lead_alike(&self, old: &Verdict, new: &Verdict) -> bool {
        let outbound = self.outbounds.get(usize::from(old.outbound));
        let leads_on = outbound.copied().flatten() == Some(new.outbound.into());
        (old.action, old.mark) == (new.action, new.mark) && leads_on
    }

    fn say_alike(&self, old: &Rule, new: &Rule) -> bool {
        // Every field by name: a new one has to be thought of here. What it is called does not
        // make it another rule; those without a name are called by their position.
        let Rule {
            name: _,
            src_ip,
            dest_ip,
            domain,
            src_mac,
            src_port,
            dest_port,
            proto,
            family,
            dscp,
            interface,
            verdict,
        } = old;
        self.lead_alike(verdict, &new.verdict)
            && self.interfaces_alike(interface, &new.interface)
            && (proto, family, dscp) == (&new.proto, &new.family, &new.dscp)
            && (src_port, dest_port) == (&new.src_port, &new.dest_port)
            && *src_mac == new.src_mac
            && *src_ip == new.src_ip
            && *dest_ip == new.dest_ip
            && *domain == new.domain
    }

    fn interfaces_alike(&self, old: &Selector<u16>, new: &Selector<u16>) -> bool {
        let (before, now) = self.interfaces;
        let alike = |old: &[u16], new: &[u16]| {
            let named = |names: &'_ [String], at: &u16| names.get(usize::from(*at)).cloned();
            old.iter()
                .map(|at| named(before, at))
                .eq(new.iter().map(|at| named(now, at)))
        };
        alike(&old.include, &new.include) && alike(&old.exclude, &new.exclude)
    }
}

/// Puts a value back that cannot change, and names its option.
fn keep<T: Clone + PartialEq>(
    ours: &T,
    wanted: &mut T,
    option: &'static str,
    restart: &mut Vec<&'static str>,
) {
    if ours != wanted {
        restart.push(option);
        wanted.clone_from(ours);
    }
}

#[cfg(test)]
mod tests;
