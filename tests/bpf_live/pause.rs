//! A datapath that is suspended and goes on.

use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use dae::kernel::{Datapath, Object};
use dae::rules::names::NameTable;
use dae::rules::{Family, Rule, Selector};

use crate::bpf;
use crate::bpf::netns::Network;
use crate::bpf::peers::{self, Listeners};
use crate::scene::{HOOKS, SERVER4, addr, config, proxied};

#[test]
fn a_pause_leaves_nothing_and_what_was_known_comes_back() {
    for (attach, _) in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        server.enter(|| peers::serve(addr(SERVER4, 80)));
        router.enter(|| {
            let before = router.trace_of_us();
            let listeners = Listeners::open();
            let config = config(attach, &listeners);
            let by_name = Rule {
                domain: Selector {
                    include: vec!["a.example".parse().unwrap()],
                    exclude: Vec::new(),
                },
                ..proxied(80)
            };
            let image = bpf::image(&[by_name]);
            let mut datapath = Datapath::start(&image, config).unwrap();
            let during = router.trace_of_us();
            let mut names = NameTable::new(&image, 100);
            let ip: IpAddr = SERVER4.parse().unwrap();
            let mut updates = Vec::new();
            names.learn(Instant::now(), "a.example", [ip], 60, &mut updates);
            datapath.apply(&updates).unwrap();
            let to = addr(SERVER4, 80);
            let connect =
                || client.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)));
            let _first = connect().unwrap();
            listeners.accept(Family::V4, false);
            // The client may still acknowledge something.
            thread::sleep(Duration::from_millis(100));
            let counted = datapath.counters().unwrap();

            assert!(datapath.suspend().is_empty());
            assert!(datapath.is_suspended());
            assert_eq!(router.settled_trace(&before), before);
            assert_eq!(datapath.counters().unwrap(), counted);
            assert_eq!(datapath.devices().count(), 0);
            assert_eq!(client.enter(|| peers::greeting(to)).unwrap(), "server");
            router.ip("addr add 192.0.2.7/32 dev lo");
            datapath.on_readable().unwrap();
            datapath.advance_epoch().unwrap();
            datapath.apply(&updates).unwrap();
            assert_eq!(router.trace_of_us(), before, "events change nothing");

            let mut updates = Vec::new();
            let _names: NameTable = names.under(&image, 100, &mut updates);
            let object = Object::load(&image, datapath.config()).unwrap();
            datapath.resume(object, &updates).unwrap();
            let again = router.trace_of_us();
            // The filter names another program.
            assert_eq!((&again[..5], &again[6]), (&during[..5], &during[6]));
            let _second = connect().unwrap();
            listeners.accept(Family::V4, false);
            assert!(datapath.counters().unwrap().rule(0).packets > counted.rule(0).packets);
            assert!(datapath.suspend().is_empty());
            drop(datapath);
            assert_eq!(router.settled_trace(&before), before);
        });
    }
}
