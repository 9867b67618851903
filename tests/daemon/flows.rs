//! `dae flows`: what the whole process tells of its flows.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::home::{Home, stop};
use crate::node::{self, PATIENCE, Talk};
use crate::resolver::{Upstream, lookup};

const LISTEN: &str = "127.0.0.1:5354";

fn config(home: &Home) -> String {
    let leases = home.folder.join("dhcp.leases");
    fs::write(
        &leases,
        "1763900000 02:00:00:00:00:01 10.9.0.2 laptop 01:02:00:00:00:00:01\n",
    )
    .unwrap();
    format!(
        "config dae 'main'\n\toption enabled '1'\n\tlist interface 'lan0'\n\
         \toption attach 'clsact'\n\toption leasefile '{}'\n\
         config dns 'dns'\n\toption enabled '1'\n\tlist listen '{LISTEN}'\n\toption upstream 'up'\n\
         config upstream 'up'\n\toption url 'udp://203.0.113.2'\n\
         config node 'one'\n\toption url 'socks5://203.0.113.2:1080'\n\
         config group 'both'\n\tlist node 'one'\n\
         config rule\n\toption name 'to80'\n\toption dest_port '80'\n\toption outbound 'both'\n",
        leases.display()
    )
}

fn flows(home: &Home, words: &[&str]) -> Value {
    let said = home.dae(&[&["flows", "--json"], words].concat(), "run");
    assert!(said.status.success(), "{said:?}");
    serde_json::from_slice(&said.stdout).unwrap()
}

#[test]
fn flows_have_the_names_of_hosts_and_destinations() {
    let home = Home::new();
    let far = &home.network.server;
    let _resolver = Upstream::start(far, [203, 0, 113, 2].into(), Duration::ZERO);
    let to: SocketAddr = "203.0.113.2:80".parse().unwrap();
    node::socks(far, "203.0.113.2:1080".parse().unwrap());
    node::echo(far, to);
    let dae = home.start(&config(&home), "run");
    assert_eq!(flows(&home, &[])["total"], 0);
    let server = LISTEN.parse().unwrap();
    assert!(lookup(&home.network.router, server, "www.example").is_some());
    let talks: Vec<_> = (0..3)
        .map(|_| Talk::open(&home.network.client, to, PATIENCE).unwrap())
        .collect();
    let list = flows(&home, &[]);
    assert_eq!((&list["total"], &list["most"]), (&json!(3), &json!(1000)));
    for row in list["flows"].as_array().unwrap() {
        let source = row["source"].as_str().unwrap();
        assert!(source.starts_with("10.9.0.2:"), "{source}");
        for (field, value) in [
            ("proto", json!("tcp")),
            ("host", json!("laptop")),
            ("destination", json!("203.0.113.2:80")),
            ("domain", json!("www.example")),
            ("rule", json!("to80")),
            ("outbound", json!("both")),
            ("node", json!("one")),
            ("bytes_up", json!(5)),
            ("bytes_down", json!(5)),
        ] {
            assert_eq!(row[field], value, "{field}");
        }
    }
    let two = flows(&home, &["2"]);
    assert_eq!(two["total"], 3);
    assert_eq!(two["flows"].as_array().unwrap().len(), 2);
    let page = String::from_utf8(home.dae(&["flows", "1"], "run").stdout).unwrap();
    assert_eq!(page.lines().count(), 3, "{page}");
    assert!(
        page.contains("www.example") && page.contains("the newest 1 of 3"),
        "{page}"
    );
    drop(talks);
    assert!(stop(dae).status.success());
}
