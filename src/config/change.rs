//! What a new configuration changes, and how much of it a running daemon takes over. Pure.
//!
//! DNS settings and the log level can change at any time. What sockets, the kernel program and
//! flows under way were made from cannot: it waits for a restart, and is named.

use super::types::{Checked, Config, Dns, Group, Main, Outbound, OutboundKind, Upstream};

/// What comes of a new configuration in a running daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The settings to go on with.
    pub config: Config,
    /// What is written differently and not in `config`, as `section.option` or a kind of
    /// section: `dae.interface`, `rule`.
    pub restart: Vec<&'static str>,
}

impl Config {
    /// Takes over from `wanted` what can change while everything runs.
    pub fn change_to(&self, wanted: &Self) -> Change {
        let mut config = self.clone();
        config.main.log_level = wanted.main.log_level;
        let mut restart = main_options(&self.main, &wanted.main);
        let ours = self.counterparts(wanted);
        if !self.nodes().eq(wanted.nodes()) {
            restart.push("node");
        }
        if self.groups_differ(wanted) {
            restart.push("group");
        }
        if self.rules != wanted.rules {
            restart.push("rule");
        }
        restart.extend(dns_options(&self.dns, &wanted.dns));
        // A file in which DNS is off need not have an upstream, but here it goes on.
        if self.dns.enabled == wanted.dns.enabled {
            match self.upstreams_of(wanted, &ours) {
                Some(upstreams) => config.take_dns(wanted, upstreams),
                None => restart.push("upstream.outbound"),
            }
        }
        Change { config, restart }
    }

    /// The other's upstreams by way of our outbounds; None when one of these is not ours.
    fn upstreams_of(&self, wanted: &Self, ours: &[Option<usize>]) -> Option<Vec<Upstream>> {
        let through_ours = |upstream: &Upstream| {
            Some(Upstream {
                outbound: counterpart(ours, upstream.outbound)?,
                ..upstream.clone()
            })
        };
        wanted.upstreams.iter().map(through_ours).collect()
    }

    fn nodes(&self) -> impl Iterator<Item = &Outbound> {
        let is_group = |outbound: &&Outbound| matches!(outbound.kind, OutboundKind::Group(_));
        self.outbounds
            .iter()
            .filter(move |outbound| !is_group(outbound))
    }

    /// For each outbound of the other our index of one that is the same, down to the last node
    /// that it can lead to.
    fn counterparts(&self, wanted: &Self) -> Vec<Option<usize>> {
        let mut ours: Vec<Option<usize>> = Vec::with_capacity(wanted.outbounds.len());
        for outbound in &wanted.outbounds {
            // What a group refers to stands before it.
            let outbound = match &outbound.kind {
                OutboundKind::Group(group) => translated(group, &ours).map(|group| Outbound {
                    name: outbound.name.clone(),
                    kind: OutboundKind::Group(group),
                }),
                _ => Some(outbound.clone()),
            };
            let same = |outbound| self.outbounds.iter().position(|our| *our == outbound);
            ours.push(outbound.and_then(same));
        }
        ours
    }

    /// Whether sections of groups say something else than ours. That nodes of the same name are
    /// others now is not a matter of groups.
    fn groups_differ(&self, wanted: &Self) -> bool {
        let by_name = |outbound: &Outbound| {
            let mut ours = self.outbounds.iter();
            ours.position(|our| our.name == outbound.name)
        };
        let ours: Vec<Option<usize>> = wanted.outbounds.iter().map(by_name).collect();
        let count = |config: &Self| config.outbounds.len() - config.nodes().count();
        let is_new = |(index, outbound): (usize, &Outbound)| match &outbound.kind {
            OutboundKind::Group(group) => {
                let our = counterpart(&ours, index).and_then(|our| self.outbounds.get(our));
                let group = translated(group, &ours).map(OutboundKind::Group);
                our.map(|our| &our.kind) != group.as_ref()
            }
            _ => false,
        };
        let checked = |checked: &Checked| {
            let group = counterpart(&ours, checked.group);
            Some((counterpart(&ours, checked.node)?, group?))
        };
        let here = self.checked.iter();
        let here = here.map(|here| Some((here.node, here.group)));
        count(self) != count(wanted)
            || wanted.outbounds.iter().enumerate().any(is_new)
            || !here.eq(wanted.checked.iter().map(checked))
    }

    /// All that refers to an upstream comes with it.
    fn take_dns(&mut self, wanted: &Self, upstreams: Vec<Upstream>) {
        self.dns = Dns {
            enabled: self.dns.enabled,
            listen: std::mem::take(&mut self.dns.listen),
            ..wanted.dns.clone()
        };
        self.upstreams = upstreams;
        self.dns_rules.clone_from(&wanted.dns_rules);
        self.answer_rules.clone_from(&wanted.answer_rules);
        self.dns_hosts.clone_from(&wanted.dns_hosts);
        self.dns_ttls.clone_from(&wanted.dns_ttls);
    }
}

fn counterpart(ours: &[Option<usize>], index: usize) -> Option<usize> {
    ours.get(index).copied().flatten()
}

/// A group with our indices; None when it leads to something that we do not have.
fn translated(group: &Group, ours: &[Option<usize>]) -> Option<Group> {
    let mut group = group.clone();
    for member in &mut group.members {
        member.outbound = counterpart(ours, member.outbound)?;
    }
    if let Some(fallback) = &mut group.fallback {
        *fallback = counterpart(ours, *fallback)?;
    }
    Some(group)
}

/// Options of `config dae` that differ and need a restart.
fn main_options(old: &Main, new: &Main) -> Vec<&'static str> {
    // Every field by name: a new one has to be thought of here.
    let Main {
        enabled,
        interfaces,
        log_level: _,
        default,
        attach,
        max_flows,
        max_names,
        max_udp_sessions,
        max_tcp_connections,
        tcp_idle,
        udp_idle,
        udp_idle_dns,
        udp_idle_quic,
        leasefile,
        metrics,
    } = old;
    different([
        ("dae.enabled", *enabled != new.enabled),
        ("dae.interface", *interfaces != new.interfaces),
        ("dae.default_outbound", *default != new.default),
        ("dae.attach", *attach != new.attach),
        ("dae.max_flows", *max_flows != new.max_flows),
        ("dae.max_names", *max_names != new.max_names),
        (
            "dae.max_udp_sessions",
            *max_udp_sessions != new.max_udp_sessions,
        ),
        (
            "dae.max_tcp_connections",
            *max_tcp_connections != new.max_tcp_connections,
        ),
        ("dae.tcp_idle", *tcp_idle != new.tcp_idle),
        ("dae.udp_idle", *udp_idle != new.udp_idle),
        ("dae.udp_idle_dns", *udp_idle_dns != new.udp_idle_dns),
        ("dae.udp_idle_quic", *udp_idle_quic != new.udp_idle_quic),
        ("dae.leasefile", *leasefile != new.leasefile),
        ("dae.metrics", *metrics != new.metrics),
    ])
}

/// Options of `config dns` that differ and need a restart.
fn dns_options(old: &Dns, new: &Dns) -> Vec<&'static str> {
    different([
        ("dns.enabled", old.enabled != new.enabled),
        ("dns.listen", old.listen != new.listen),
    ])
}

fn different<const N: usize>(options: [(&'static str, bool); N]) -> Vec<&'static str> {
    let different = options.into_iter().filter(|(_, different)| *different);
    different.map(|(option, _)| option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
config dae 'main'
	list interface 'lan'
	option log_level 'info'
config dns 'dns'
	option enabled '1'
	list listen '127.0.0.1:5354'
	list upstream 'up'
config node 'one'
	option url 'socks5://192.0.2.1:1080'
config node 'two'
	option url 'socks5://192.0.2.2:1080'
config group 'both'
	list node 'two'
	list node 'one'
config group 'outer'
	list node 'both'
config upstream 'up'
	option url 'udp://192.0.2.53'
config upstream 'far'
	option url 'tcp://192.0.2.54'
	option outbound 'two'
config rule
	list dest_ip '192.0.2.0/24'
	option outbound 'one'
";

    fn parse(text: &str) -> Config {
        Config::parse("test", text.as_bytes()).unwrap()
    }

    /// What comes of the file with one piece of text replaced.
    fn edited(from: &str, to: &str) -> Change {
        assert!(FILE.contains(from), "{from}");
        parse(FILE).change_to(&parse(&FILE.replace(from, to)))
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let change = edited("lan", "lan");
        assert_eq!(change.config, parse(FILE));
        assert_eq!(change.restart, [""; 0]);
    }

    #[test]
    fn what_is_about_answers_is_taken_over() {
        for (from, to) in [
            ("'info'", "'debug'"),
            ("udp://192.0.2.53", "tcp://192.0.2.99"),
            (
                "list upstream 'up'",
                "list upstream 'far'\n\toption query_log '7'",
            ),
            ("option outbound 'two'", "option outbound 'one'"),
            ("option outbound 'two'", "option outbound 'outer'"),
            (
                "config rule",
                "config dns_rule\n\tlist domain 'a.example'\n\toption upstream 'far'\nconfig rule",
            ),
            (
                "config rule",
                "config answer_rule\n\tlist upstream 'far'\n\toption action 'reject'\nconfig rule",
            ),
            (
                "config rule",
                "config dns_host\n\toption name 'nas.lan'\n\tlist ip '192.0.2.9'\nconfig rule",
            ),
            (
                "config rule",
                "config dns_ttl\n\tlist domain 'a.example'\n\toption ttl '9'\nconfig rule",
            ),
        ] {
            let change = edited(from, to);
            assert_eq!(change.restart, [""; 0], "{to}");
            assert_eq!(change.config, parse(&FILE.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn what_is_not_is_named_and_left() {
        for (from, to, named) in [
            ("interface 'lan'", "interface 'guest'", "dae.interface"),
            (
                "config dns",
                "\toption enabled '1'\nconfig dns",
                "dae.enabled",
            ),
            (
                "config dns",
                "\toption metrics '127.0.0.1:9'\nconfig dns",
                "dae.metrics",
            ),
            ("127.0.0.1:5354", "127.0.0.1:5355", "dns.listen"),
            ("192.0.2.1:1080", "192.0.2.9:1080", "node"),
            ("192.0.2.0/24", "198.51.100.0/24", "rule"),
            (
                "list node 'two'\n\tlist node 'one'",
                "list node 'one'\n\tlist node 'two'",
                "group",
            ),
            (
                "node 'both'",
                "node 'both'\n\toption tolerance '9'",
                "group",
            ),
            (
                "node 'both'",
                "node 'both'\n\toption fallback 'direct'",
                "group",
            ),
            (
                "config rule",
                "config group 'more'\n\tlist node 'one'\nconfig rule",
                "group",
            ),
        ] {
            let change = edited(from, to);
            assert_eq!(change.restart, [named], "{to}");
            assert_eq!(change.config, parse(FILE), "{to}");
        }
    }

    #[test]
    fn answers_change_beside_what_must_wait() {
        let wanted = FILE
            .replace("192.0.2.0/24", "198.51.100.0/24")
            .replace("udp://192.0.2.53", "udp://192.0.2.99");
        let change = parse(FILE).change_to(&parse(&wanted));
        assert_eq!(change.restart, ["rule"]);
        assert_eq!(change.config.upstreams, parse(&wanted).upstreams);
        assert_eq!(change.config.rules, parse(FILE).rules);
    }

    #[test]
    fn outbounds_of_upstreams_are_known_by_what_they_are() {
        // The first node is gone: the second has another index now.
        let gone = "config node 'one'\n\toption url 'socks5://192.0.2.1:1080'\n";
        let wanted = FILE
            .replace(gone, "")
            .replace("\tlist node 'one'\n", "")
            .replace("'one'", "'direct'");
        let change = parse(FILE).change_to(&parse(&wanted));
        assert_eq!(change.restart, ["node", "group", "rule"]);
        let running = &change.config;
        let outbound = &running.outbounds[running.upstreams[1].outbound];
        assert_eq!(outbound.name, "two");
        // An upstream by way of a node that is not there yet.
        let change = edited("192.0.2.2:1080", "192.0.2.9:1080");
        assert_eq!(change.restart, ["node", "upstream.outbound"]);
        assert_eq!(change.config, parse(FILE));
    }

    #[test]
    fn groups_are_known_by_where_they_lead() {
        // A further node in front moves all indices.
        let text = FILE.replace("outbound 'two'", "outbound 'outer'");
        let further = "config node 'zero'\n\toption url 'socks5://192.0.2.9:1080'\n";
        let wanted = text.replace("config node 'one'", &format!("{further}config node 'one'"));
        let running = parse(&text);
        let change = running.change_to(&parse(&wanted));
        assert_eq!(change.restart, ["node", "rule"]);
        assert_eq!(change.config.upstreams, running.upstreams);
        // The names are the same, but one of them is another server.
        let wanted = text.replace("192.0.2.1:1080", "192.0.2.9:1080");
        let change = running.change_to(&parse(&wanted));
        assert_eq!(change.restart, ["node", "upstream.outbound"]);
    }

    #[test]
    fn how_nodes_are_checked_is_a_matter_of_groups() {
        let group = |name, server| {
            format!("config group '{name}'\n\tlist node 'one'\n\tlist check_dns '{server}'\n")
        };
        let (a, b) = (group("a", "192.0.2.53"), group("b", "192.0.2.54"));
        let running = parse(&format!("{FILE}{a}{b}"));
        let change = running.change_to(&parse(&format!("{FILE}{b}{a}")));
        assert_eq!(change.restart, ["group"]);
    }

    #[test]
    fn dns_that_is_to_end_goes_on_as_it_was() {
        let off = "config dae 'main'\n\tlist interface 'lan'\n";
        let change = parse(FILE).change_to(&parse(off));
        assert_eq!(
            change.restart,
            ["node", "group", "rule", "dns.enabled", "dns.listen"]
        );
        assert_eq!(change.config.upstreams, parse(FILE).upstreams);
        assert_eq!(change.config.dns, parse(FILE).dns);
    }
}
