//! Real servers behind us by TLS and HTTPS: unbound, knot-resolver, dnsdist. Each knows one
//! address for every name below `zone.`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::peers::{Program, free_port, wait_for};
use crate::server::{Running, config};
use crate::tls_server::Authority;

/// Chain, key and a folder for the rest.
struct Place {
    folder: PathBuf,
    chain: String,
    key: String,
}

impl Place {
    fn new(authority: &Authority, name: &str) -> Self {
        let folder = format!("dae-peers-tls-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(folder.join("run")).unwrap();
        let (chain, key) = authority.issue(&["dns.example"]).write(&folder);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        Self {
            chain: text(&chain),
            key: text(&key),
            folder,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn unbound(place: &Place, tls: SocketAddr) -> Program {
    let (ip, port, chain, key) = (tls.ip(), tls.port(), &place.chain, &place.key);
    let text = format!(
        "server:\n  interface: {ip}@{port}\n  tls-port: {port}\n  tls-service-pem: \"{chain}\"\n  \
         tls-service-key: \"{key}\"\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"/\"\n  pidfile: \"\"\n  use-syslog: no\n  access-control: 0.0.0.0/0 allow\n  \
         local-zone: \"zone.\" redirect\n  local-data: \"zone. 60 A 192.0.2.1\"\n"
    );
    Program::start(&["unbound", "-d", "-c", "FILE"], "unbound.conf", &text)
}

fn kresd(place: &Place, tls: SocketAddr, https: SocketAddr) -> Program {
    let (chain, key) = (&place.chain, &place.key);
    let listen = |addr: SocketAddr, kind: &str| {
        format!(
            "net.listen('{}', {}, {{ kind = '{kind}' }})\n",
            addr.ip(),
            addr.port()
        )
    };
    let text = listen(tls, "tls")
        + &listen(https, "doh2")
        + &format!(
            "net.tls('{chain}', '{key}')\n\
             for _, name in ipairs({{ 'priming', 'ta_update', 'ta_signal_query', 'detect_time_skew' }}) do\n  \
             modules.unload(name)\nend\ntrust_anchors.remove('.')\ncache.size = 10 * MB\n\
             policy.add(policy.suffix(policy.ANSWER({{ [kres.type.A] = {{ \
             rdata = kres.str2ip('192.0.2.1'), ttl = 60 }} }}, true), policy.todnames({{ 'zone' }})))\n"
        );
    let run = place.folder.join("run");
    let command = ["kresd", "-n", "-c", "FILE", run.to_str().unwrap()];
    Program::start(&command, "kresd.conf", &text)
}

fn dnsdist(place: &Place, plain: SocketAddr, tls: SocketAddr, https: SocketAddr) -> Program {
    let (chain, key) = (&place.chain, &place.key);
    let text = format!(
        "setSecurityPollSuffix('')\nsetLocal('{plain}')\n\
         addTLSLocal('{tls}', '{chain}', '{key}')\n\
         addDOHLocal('{https}', '{chain}', '{key}', '/dns-query')\n\
         addAction(AllRule(), SpoofAction('192.0.2.1'))\n"
    );
    let command = ["dnsdist", "--supervised", "--disable-syslog", "-C", "FILE"];
    Program::start(&command, "dnsdist.conf", &text)
}

/// Two hundred names at once and a few one by one.
fn asks(authority: &Authority, scheme: &str, addr: SocketAddr) {
    wait_for(addr);
    let server = Running::start(&(config(&format!("{scheme}://{addr}"), &[]) + &authority.lines()));
    let mut client = server.udp();
    for number in 0..5 {
        let answer = client.ask(&format!("w{number}.zone"));
        assert!(
            answer.contains(" noerror ") && answer.contains(" A A:"),
            "{scheme}: {answer}"
        );
    }
    client.ask_at_once(120, |number| format!("n{number}.zone"));
    let stats = server.stats();
    assert!((1..=4).contains(&stats.upstream_connections), "{scheme}");
}

#[test]
fn unbound_by_tls() {
    let authority = Authority::new();
    let (place, tls) = (Place::new(&authority, "unbound"), free_port());
    let _unbound = unbound(&place, tls);
    asks(&authority, "tls", tls);
}

#[test]
fn knot_resolver_by_tls_and_https() {
    let authority = Authority::new();
    let place = Place::new(&authority, "kresd");
    let (tls, https) = (free_port(), free_port());
    let _kresd = kresd(&place, tls, https);
    asks(&authority, "tls", tls);
    // Its path is fixed.
    asks(&authority, "https", https);
}

#[test]
fn dnsdist_by_tls_and_https() {
    let authority = Authority::new();
    let place = Place::new(&authority, "dnsdist");
    let (tls, https) = (free_port(), free_port());
    let _dnsdist = dnsdist(&place, free_port(), tls, https);
    asks(&authority, "tls", tls);
    asks(&authority, "https", https);
}
