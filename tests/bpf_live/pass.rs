//! What does not reach us: blocked, marked, or as without a datapath.

use std::io::Read;
use std::net::TcpStream;

use dae::config::Attach;
use dae::kernel::Datapath;
use dae::kernel::abi::Count;
use dae::rules::{Family, Proto};

use crate::bpf;
use crate::bpf::netns::Network;
use crate::bpf::peers::{self, Listeners};
use crate::scene::{HOOKS, SERVER4, SERVER6, addr, config, rules, serve, steered, steered_in};

#[test]
fn block_and_mark() {
    let network = Network::new();
    let Network { client, router, .. } = &network;
    for family in ["-4", "-6"] {
        router.ip(&format!("{family} rule add fwmark 0x10 prohibit"));
    }
    steered_in(&network, Attach::Auto, |_, _listeners, _| {
        for host in [SERVER4, SERVER6] {
            let blocked = client
                .enter(|| peers::greeting(addr(host, 81)))
                .unwrap_err();
            assert_eq!(blocked.kind(), std::io::ErrorKind::TimedOut);
            // The mark leads to a rule that answers with an ICMP error.
            let marked = client
                .enter(|| peers::greeting(addr(host, 82)))
                .unwrap_err();
            assert_ne!(marked.kind(), std::io::ErrorKind::TimedOut, "{marked}");
            assert_eq!(
                client.enter(|| peers::greeting(addr(host, 90))).unwrap(),
                "server"
            );
        }
    });
}

#[test]
fn without_our_listeners_everything_passes() {
    for (attach, _) in HOOKS {
        steered(attach, |Network { client, .. }, listeners, datapath| {
            let kept = client.enter(|| TcpStream::connect(addr(SERVER4, 80)).unwrap());
            // Their owner is gone, the program is not.
            drop(listeners);
            for host in [SERVER4, SERVER6] {
                for port in [53, 80, 81, 82, 90, 443] {
                    let said = client.enter(|| peers::greeting(addr(host, port)));
                    assert_eq!(said.unwrap(), "server", "{host}:{port}");
                    assert!(
                        client.enter(|| peers::echoes(addr(host, port))),
                        "{host}:{port}"
                    );
                }
            }
            drop(kept);
            assert!(datapath.counters().unwrap().fate(Count::FailOpen).packets > 0);
        });
    }
}

/// A foreign socket on our port must not be taken for ours.
#[test]
fn a_listener_without_our_mark_gets_nothing() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    serve(server);
    router.enter(|| {
        let listeners = Listeners::open();
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = foreign.local_addr().unwrap().port();
        let mut config = config(Attach::Auto, &listeners);
        config.ports = listeners.ports.with(Proto::Tcp, Family::V4, false, port);
        let datapath = Datapath::start(&bpf::image(&rules()), config).unwrap();
        assert_eq!(
            client.enter(|| peers::greeting(addr(SERVER4, 80))).unwrap(),
            "server"
        );
        assert!(datapath.stop().is_empty());
    });
}

/// Connections that were there before us, and direct ones that the cache has forgotten.
#[test]
fn a_connection_under_way_goes_on() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    serve(server);
    router.enter(|| {
        let listeners = Listeners::open();
        let mut stream = client
            .enter(|| TcpStream::connect(addr(SERVER4, 80)))
            .unwrap();
        let config = config(Attach::Auto, &listeners);
        let datapath = Datapath::start(&bpf::image(&rules()), config).unwrap();
        let mut text = [0; 6];
        stream.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"server");
        // The server has closed; our side of the goodbye passes too.
        assert_eq!(stream.read(&mut text).unwrap(), 0);
        drop(stream);
        peers::until(|| {
            (datapath.counters().ok()?.fate(Count::Midstream).packets > 0).then_some(())
        })
        .expect("counted as under way");
        assert!(datapath.stop().is_empty());
    });
}
