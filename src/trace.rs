//! `dae trace`: which rule decides a flow, and why. Asks the running daemon for the names it
//! has learnt, and goes by the configuration alone when none runs.

use std::net::IpAddr;
use std::path::Path;

use crate::cli::{Cli, Trace};
use crate::config::{Candidates, Config, Policy, Resolver};
use crate::control::socket;
use crate::daemon::load;
use crate::dns::route::{Groups, Router};
use crate::dns::upstream::Upstreams;
use crate::error::{Error, Result};
use crate::rules::{Family, domain, explain};

/// The page that `dae trace` prints.
pub fn report(cli: &Cli, trace: &Trace) -> Result<String> {
    let loaded = load::read(&cli.config)?;
    let mut flow = trace.flow.clone();
    if let Some(name) = &trace.interface {
        flow.interface = Some(interface(&loaded.config, name)?);
    }
    let mut names: Vec<Box<str>> = trace
        .domains
        .iter()
        .map(|name| domain::normalize(name))
        .collect();
    if names.is_empty() {
        names = learnt(&cli.run_dir, flow.dst);
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let config = &loaded.config;
    let outbounds: Vec<String> = config
        .outbounds
        .iter()
        .map(|outbound| outbound.name.clone())
        .collect();
    let context = explain::Context {
        rules: &config.rules,
        default: config.main.default,
        interfaces: &config.main.interfaces,
        outbounds: &outbounds,
    };
    let mut lines = explain::explain(&context, &flow, &names);
    if config.dns.enabled {
        let router = router(config);
        lines.extend(
            names
                .iter()
                .map(|name| resolver(config, &router, name, flow.family())),
        );
    }
    Ok(lines.join("\n") + "\n")
}

fn router(config: &Config) -> Router {
    let mut groups = Groups::new(Upstreams::new(config).ids(), 0);
    Router::new(config, Vec::new(), &mut groups)
}

/// Who answers the query that a client of this IP version asks for a name.
fn resolver(config: &Config, router: &Router, name: &str, family: Family) -> String {
    let (label, qtype) = match family {
        Family::V4 => ("A", 1),
        Family::V6 => ("AAAA", 28),
    };
    let (resolver, why) = match router.rule(name, qtype) {
        Some(rule) => (&rule.resolver, format!("by dns_rule '{}'", rule.name)),
        None if router.is_local(name) => (&Resolver::AsIs, "a local name".to_owned()),
        None => (&config.dns.default, "the default".to_owned()),
    };
    let answered = match resolver {
        Resolver::Ask(candidates) => upstreams(config, candidates),
        Resolver::AsIs => "the server that the client asks".to_owned(),
        Resolver::Reject => "nobody, the answer is empty".to_owned(),
    };
    format!("dns {name} {label}: {answered}, {why}")
}

/// `upstream 'one'`, or `upstreams 'one' 'two', race`.
fn upstreams(config: &Config, candidates: &Candidates) -> String {
    let names: Vec<String> = candidates
        .upstreams
        .iter()
        .map(|index| format!("'{}'", config.upstreams[*index].name))
        .collect();
    match names.as_slice() {
        [only] => format!("upstream {only}"),
        several => {
            let policy = match candidates.policy {
                Policy::Failover => "failover",
                Policy::Fastest => "fastest",
                Policy::Race => "race",
            };
            format!("upstreams {}, {policy}", several.join(" "))
        }
    }
}

fn interface(config: &Config, name: &str) -> Result<u16> {
    let listed = &config.main.interfaces;
    let at = listed
        .iter()
        .position(|listed| listed == name)
        .ok_or_else(|| {
            Error::Usage(format!(
                "interface '{name}' is none of the configured: {}",
                listed.join(" ")
            ))
        })?;
    // A configuration has far fewer interfaces than 65,536.
    Ok(at as u16)
}

/// Names of an address that the running daemon has seen in answers; none when none runs.
fn learnt(run_dir: &Path, addr: IpAddr) -> Vec<Box<str>> {
    let Ok(document) = socket::ask(run_dir, &format!("names {addr}")) else {
        return Vec::new();
    };
    let names = document["names"].as_array().cloned().unwrap_or_default();
    names
        .iter()
        .filter_map(|name| name.as_str().map(Box::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_named_with_their_policy() {
        let text = b"config dae 'main'\n\
            config upstream 'one'\n option url 'udp://192.0.2.1'\n\
            config upstream 'two'\n option url 'tcp://192.0.2.2'\n\
            config dns 'dns'\n list upstream 'two'\n list upstream 'one'\n option policy 'race'\n\
            config dns_rule\n option name 'r'\n option domain 'example.com'\n option upstream 'one'\n";
        let config = Config::parse("dae", text).unwrap();
        let router = router(&config);
        let answered = |name| resolver(&config, &router, name, Family::V4);
        assert_eq!(
            answered("other.example"),
            "dns other.example A: upstreams 'two' 'one', race, the default"
        );
        assert_eq!(
            answered("www.example.com"),
            "dns www.example.com A: upstream 'one', by dns_rule 'r'"
        );
        assert_eq!(
            answered("nas.lan"),
            "dns nas.lan A: the server that the client asks, a local name"
        );
    }
}
