//! The kill switch: what nobody takes is dropped.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dae::config::Attach;
use dae::kernel::abi::Count;
use dae::kernel::{Datapath, DatapathConfig, HookKind};
use dae::rules::{Family, Kept};

use crate::bpf;
use crate::bpf::netns::Network;
use crate::bpf::peers::{self, Listeners};
use crate::scene::{
    SERVER4, addr, config, echo, proxied, replace, says, says_to, without_early_demux,
};

/// Echoes, and a resolver.
fn network() -> Network {
    let network = Network::new();
    without_early_demux(&network.router);
    network.server.enter(|| {
        for port in [80, 90, 91] {
            echo(addr(SERVER4, port));
        }
        peers::serve(addr(SERVER4, 53));
    });
    network
}

fn closing(listeners: &Listeners) -> DatapathConfig {
    DatapathConfig {
        kill_switch: true,
        ..config(Attach::Auto, listeners)
    }
}

fn hook(datapath: &Datapath) -> HookKind {
    datapath.devices().next().unwrap().hook
}

#[test]
fn a_connection_is_known_by_its_socket_and_else_by_rules() {
    let Network { client, router, .. } = &network();
    router.enter(|| {
        let listeners = Listeners::open();
        let config = closing(&listeners);
        let connect = |port| client.enter(|| TcpStream::connect(addr(SERVER4, port)).unwrap());
        let mut earlier = connect(91);
        says(&mut earlier, b"before dae");
        let mut direct = connect(90);
        says(&mut direct, b"before dae");
        let rules = [proxied(80), proxied(91)];
        let mut datapath = Datapath::start(&bpf::image(&rules), config.clone()).unwrap();
        assert_eq!(hook(&datapath), HookKind::Clsact);
        // Begun before us: rules are asked, and one that must not go round the node ends.
        says(&mut direct, b"direct");
        earlier.set_read_timeout(Some(peers::PATIENCE)).unwrap();
        earlier.write_all(b"round").unwrap();
        let ended = earlier.read(&mut [0; 9]).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);

        let mut by_proxy = connect(80);
        let (mut ours, _) = listeners.accept(Family::V4, false);
        says_to(&mut by_proxy, &mut ours);
        // No rule knows it any more, nor does the flow cache.
        replace(&mut datapath, &[], &config, &Kept::default());
        says_to(&mut by_proxy, &mut ours);
        says_to(&mut by_proxy, &mut ours);
        says(&mut direct, b"direct still");
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn without_our_sockets_it_is_closed_until_it_is_switched_off() {
    let Network { client, router, .. } = &network();
    router.enter(|| {
        let listeners = Listeners::open();
        let config = closing(&listeners);
        let wait = Duration::from_millis(500);
        let connect =
            |port| client.enter(|| TcpStream::connect_timeout(&addr(SERVER4, port), wait));
        let mut earlier = connect(90).unwrap();
        let rules = [proxied(80), proxied(91)];
        let mut datapath = Datapath::start(&bpf::image(&rules), config.clone()).unwrap();
        let by_proxy = connect(80).unwrap();
        drop(listeners.accept(Family::V4, false));
        // A program that takes the place of another is as closed.
        replace(&mut datapath, &rules, &config, &Kept::default());

        // All of our sockets are gone, as those of a dead process.
        drop(listeners);
        for port in [80, 53] {
            assert_eq!(connect(port).unwrap_err().kind(), ErrorKind::TimedOut);
        }
        assert!(!client.enter(|| peers::echoes(addr(SERVER4, 53))));
        says(&mut earlier, b"direct to the end");
        connect(90).unwrap();
        let counters = datapath.counters().unwrap();
        assert_eq!(counters.fate(Count::FailOpen).packets, 0);
        assert!(counters.fate(Count::FailClosed).packets > 2);
        drop(by_proxy);
        // Switched off while it runs: open again.
        let open = DatapathConfig {
            kill_switch: false,
            ..config
        };
        assert!(!open.needs_another_object(datapath.config()));
        datapath.reconfigure(open);
        assert_eq!(hook(&datapath), HookKind::Tcx);
        connect(80).unwrap();
        assert!(client.enter(|| peers::echoes(addr(SERVER4, 53))));
        assert!(datapath.stop().is_empty());
    });
}
