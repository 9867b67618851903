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
mod tests {
    use super::*;

    const FILE: &str = "
config dae 'main'
	list interface 'lan'
	list interface 'guest'
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
config upstream 'up'
	option url 'udp://192.0.2.53'
config upstream 'far'
	option url 'tcp://192.0.2.54'
	option outbound 'two'
config rule
	list dest_ip '192.0.2.0/24'
	option outbound 'one'
config rule
	list interface 'guest'
	option outbound 'two'
";
    const FURTHER_NODE: &str = "config node 'zero'\n\toption url 'socks5://192.0.2.9:1080'\n";

    fn parse(text: &str) -> Config {
        Config::parse("test", text.as_bytes()).unwrap()
    }

    /// What comes of the file with one piece of text replaced.
    fn edited(from: &str, to: &str) -> Change {
        assert!(FILE.contains(from), "{from}");
        parse(FILE).change_to(parse(&FILE.replace(from, to)))
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let change = edited("lan", "lan");
        assert_eq!(change.config, parse(FILE));
        assert_eq!(change.restart, [""; 0]);
        assert_eq!(change.rules, None);
    }

    #[test]
    fn nearly_everything_is_taken_over() {
        for (from, to, touches_rules) in [
            ("'info'", "'debug'", false),
            ("'info'", "'info'\n\toption max_flows '512'", false),
            ("'info'", "'info'\n\toption attach 'clsact'", false),
            ("'info'", "'info'\n\toption tcp_idle '99'", false),
            ("'info'", "'info'\n\toption default_outbound 'one'", true),
            ("udp://192.0.2.53", "tcp://192.0.2.99", false),
            (
                "option outbound 'two'\nconfig rule",
                "option outbound 'both'\nconfig rule",
                false,
            ),
            ("192.0.2.1:1080", "192.0.2.9:1080", false),
            (
                "list node 'two'\n\tlist node 'one'",
                "list node 'one'\n\tlist node 'two'",
                false,
            ),
            (
                "config node 'one'",
                &format!("{FURTHER_NODE}config node 'one'"),
                true,
            ),
            ("192.0.2.0/24", "198.51.100.0/24", true),
            ("interface 'lan'", "interface 'iot'", false),
            ("\tlist interface 'lan'\n", "", true),
            (
                "config dns 'dns'",
                "config dns_rule\n\tlist domain 'a.example'\n\toption upstream 'far'\nconfig dns 'dns'",
                false,
            ),
        ] {
            let change = edited(from, to);
            assert_eq!(change.restart, [""; 0], "{to}");
            assert_eq!(change.config, parse(&FILE.replace(from, to)), "{to}");
            assert_eq!(change.rules.is_some(), touches_rules, "{to}");
        }
    }

    #[test]
    #[cfg_attr(not(feature = "metrics"), ignore = "reads option metrics")]
    fn what_hangs_on_sockets_is_named_and_left() {
        for (from, to, named) in [
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
        ] {
            let change = edited(from, to);
            assert_eq!(change.restart, [named], "{to}");
            assert_eq!(change.config, parse(FILE), "{to}");
        }
        let without = "config dae 'main'\nconfig rule\n\toption outbound 'direct'\n";
        let with = "config dae 'main'\n\tlist interface 'lan'\n";
        for (old, new) in [(with, without), (without, with)] {
            let change = parse(old).change_to(parse(new));
            assert_eq!(change.restart, ["dae.interface"]);
            assert_eq!(change.config.main, parse(old).main);
            assert_eq!(change.config.rules, parse(new).rules);
        }
    }

    #[test]
    fn the_rest_changes_beside_what_must_wait() {
        let wanted = FILE
            .replace("127.0.0.1:5354", "127.0.0.1:5355")
            .replace("192.0.2.0/24", "198.51.100.0/24")
            .replace("udp://192.0.2.53", "udp://192.0.2.99");
        let change = parse(FILE).change_to(parse(&wanted));
        assert_eq!(change.restart, ["dns.listen"]);
        assert_eq!(change.config.upstreams, parse(&wanted).upstreams);
        assert_eq!(change.config.rules, parse(&wanted).rules);
        assert_eq!(change.config.dns.listen, parse(FILE).dns.listen);
    }

    #[test]
    fn rules_are_known_by_what_their_numbers_mean() {
        let moved = |wanted: &str| parse(FILE).change_to(parse(wanted)).rules.unwrap();
        // A further node moves all indices.
        let nodes = FILE.replace(
            "config node 'one'",
            &format!("{FURTHER_NODE}config node 'one'"),
        );
        assert_eq!(moved(&nodes), Kept::everything(2));
        // So does an interface less.
        let interfaces = FILE.replace("\tlist interface 'lan'\n", "");
        assert_eq!(moved(&interfaces), Kept::everything(2));
        // Another interface at the same place is another rule.
        let other = FILE.replace("'guest'", "'iot'");
        assert_eq!(parse(FILE).change_to(parse(&other)).rules, None);
        let more = format!("{other}config rule\n\toption outbound 'block'\n");
        assert_eq!(moved(&more).rules, [Some(0), None]);
        let first = FILE.replacen(
            "config rule",
            "config rule\n\toption outbound 'block'\nconfig rule",
            1,
        );
        assert_eq!(moved(&first).rules, [Some(1), Some(2)]);
        let default = FILE.replace("'info'", "'info'\n\toption default_outbound 'one'");
        let kept = moved(&default);
        assert_eq!(
            (kept.rules.as_slice(), kept.default),
            (&[Some(0), Some(1)][..], false)
        );
    }

    #[test]
    fn outbounds_are_known_by_what_they_are() {
        let old = parse(FILE);
        let moved = |text: &str| old.moved_outbounds(&parse(text));
        let all = |numbers: [usize; 5]| numbers.map(Some).to_vec();
        assert_eq!(moved(FILE), all([0, 1, 2, 3, 4]));
        let further = FILE.replace(
            "config node 'one'",
            &format!("{FURTHER_NODE}config node 'one'"),
        );
        assert_eq!(moved(&further), all([0, 1, 3, 4, 5]));
        // Another server of the same name is another one; the group is the same.
        let other = moved(&FILE.replace("192.0.2.1:1080", "192.0.2.9:1080"));
        assert_eq!(other, [Some(0), Some(1), None, Some(3), Some(4)]);
        let swapped = "list node 'one'\n\tlist node 'two'";
        let swapped = moved(&FILE.replace("list node 'two'\n\tlist node 'one'", swapped));
        assert_eq!(swapped, all([0, 1, 2, 3, 4]));
    }

    #[test]
    fn dns_that_is_to_end_goes_on_as_it_was() {
        let off = "config dae 'main'\n\tlist interface 'lan'\n\tlist interface 'guest'\n";
        let change = parse(FILE).change_to(parse(off));
        assert_eq!(change.restart, ["dns.enabled", "dns.listen"]);
        assert_eq!(change.config.dns, parse(FILE).dns);
        // The node of one upstream is gone: nobody else is asked for it.
        let outbounds: Vec<_> = change
            .config
            .upstreams
            .iter()
            .map(|it| it.outbound)
            .collect();
        assert_eq!(outbounds, [0, BLOCK]);
        let two = format!("{off}config node 'two'\n\toption url 'socks5://192.0.2.2:1080'\n");
        let change = parse(FILE).change_to(parse(&two));
        assert_eq!(change.config.upstreams[1].outbound, 2);
    }
}
