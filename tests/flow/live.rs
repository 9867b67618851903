//! What is known of flows, and flows whose way is taken away.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use dae::flow::FlowList;

use crate::home::CLIENT4;
use crate::scene::{Scene, is_reset, receive};
use crate::servers::{DANTE, Dante, udp_echo};

fn flows(scene: &Scene, newest: usize) -> FlowList {
    scene
        .router
        .inside(move |inside| inside.proxy.flows(newest))
}

#[test]
fn connections_are_listed_with_all_that_is_known() {
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    let accepted = scene.accept();
    let pairs = ["203.0.113.0", "203.0.113.2"].map(|host| {
        let (mut client, mut server) = scene.pair(&accepted, host);
        client.write_all(&[1; 300]).unwrap();
        server.read_exact(&mut [0; 300]).unwrap();
        server.write_all(&[2; 70]).unwrap();
        client.read_exact(&mut [0; 70]).unwrap();
        (client, server)
    });
    let list = flows(&scene, 9);
    assert_eq!(list.total, 2);
    let expected = [
        ("through-nodes", "n0", &pairs[1].0),
        ("default", "direct", &pairs[0].0),
    ];
    for (row, (rule, outbound, client)) in list.flows.iter().zip(expected) {
        assert_eq!((row.proto, row.kind, row.idle_s), ("tcp", None, None));
        assert_eq!(row.source, client.local_addr().unwrap());
        assert_eq!(row.destination, client.peer_addr().unwrap());
        assert_eq!((&*row.rule, &*row.outbound), (rule, outbound));
        assert_eq!(row.node.as_deref(), Some(outbound));
        assert_eq!((row.bytes_up, row.bytes_down), (300, 70));
    }
    let newest = flows(&scene, 1);
    assert_eq!((newest.total, &newest.flows[..]), (2, &list.flows[..1]));
}

#[test]
fn sessions_are_listed_too() {
    let scene = Scene::new(&["socks5://10.78.0.2:1082"]);
    let to = scene.udp("203.0.113.0");
    let _echo = udp_echo(&scene.home.internet, to);
    let client = scene.client(CLIENT4);
    client.send_to(b"hello", to).unwrap();
    receive(&client);
    let list = scene.router.inside(|inside| inside.proxy.flows(9));
    let [row] = &list.flows[..] else {
        panic!("{list:?}")
    };
    assert_eq!((row.proto, row.kind), ("udp", Some("plain")));
    assert_eq!(
        (row.source, row.destination),
        (client.local_addr().unwrap(), to)
    );
    assert_eq!((row.bytes_up, row.bytes_down, row.idle_s), (5, 5, Some(0)));
}

#[test]
fn connections_of_a_way_that_is_cut_are_reset_and_others_stay() {
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    let accepted = scene.accept();
    let (mut direct, mut direct_server) = scene.pair(&accepted, "203.0.113.0");
    let (client, server) = scene.pair(&accepted, "203.0.113.2");
    let start = Instant::now();
    scene
        .router
        .inside(|inside| inside.proxy.cut(&[inside.way(2)]));
    assert!(is_reset(&client));
    assert!(is_reset(&server) || start.elapsed() < Duration::from_secs(1));
    assert!(start.elapsed() < Duration::from_secs(2));
    let stats = scene.router.wait("cut", |stats| stats.tcp.workers == 1).tcp;
    assert_eq!((stats.active, stats.cut), (1, 1));
    direct.write_all(b"x").unwrap();
    direct_server.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn connections_of_a_way_that_is_drained_go_on_until_the_limit() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    let (mut client, mut server) = scene.pair(&accepted, "203.0.113.0");
    let start = Instant::now();
    scene.router.inside(|inside| {
        let direct = inside.way(0);
        inside.proxy.drain(&[direct], Duration::from_secs(3));
    });
    while start.elapsed() < Duration::from_secs(2) {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0; 1]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(is_reset(&client) && is_reset(&server));
    let passed = start.elapsed().as_secs_f64();
    assert!((3.0..5.5).contains(&passed), "{passed} s");
    assert_eq!(scene.router.stats().tcp.cut, 1);
}
