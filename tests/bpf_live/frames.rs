//! Frames as they are on the wire, and devices that have none.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use dae::config::Attach;
use dae::kernel::abi::Count;
use dae::kernel::{Counters, Datapath, FlowKey};
use dae::rules::{Action, Family, Mac, Proto};

use crate::bpf;
use crate::bpf::netns::{Namespace, Network};
use crate::bpf::peers::{self, Listeners};
use crate::scene::{SERVER4, addr, config, rules, steered_in};

/// Frames as they are on the wire: the kernel takes one VLAN tag off before we look.
#[test]
fn frames_with_tags_and_without_headers_meet_their_fate() {
    let network = Network::new();
    let Network { client, router, .. } = &network;
    // It would say of itself, at times of its own, that it is there.
    client.set("net.ipv6.conf.eth0.disable_ipv6=1");
    let wire = client.enter(|| Wire::open("eth0"));
    let lan0 = mac_of(router, "lan0");
    steered_in(&network, Attach::Auto, |_, listeners, datapath| {
        let packet = bpf::packet::udp(addr("10.9.0.2", 5000), addr(SERVER4, 443), b"hello");
        let frame =
            |head: &[u8], packet: &[u8]| [&lan0[..], &[2, 0, 0, 0, 0, 9], head, packet].concat();
        let counted = |of: &dyn Fn(&Counters) -> u64| of(&datapath.counters().unwrap());
        let by_rule = |counters: &Counters| counters.rule(1).packets;
        let other = |counters: &Counters| counters.fate(Count::Other).packets;
        let rises = |of: &dyn Fn(&Counters) -> u64, frame: &[u8]| {
            let before = counted(of);
            wire.send(frame, 0);
            peers::until(|| (counted(of) == before + 1).then_some(())).expect("counted once");
        };
        rises(&by_rule, &frame(&[0x08, 0x00], &packet));
        assert_eq!(listeners.recv(Family::V4, false).1, addr(SERVER4, 443));
        rises(&by_rule, &frame(&[0x81, 0x00, 0, 7, 0x08, 0x00], &packet));
        rises(&by_rule, &frame(&[0x88, 0xa8, 0, 7, 0x08, 0x00], &packet));
        rises(
            &other,
            &frame(&[0x88, 0xa8, 0, 7, 0x81, 0x00, 0, 8, 0x08, 0x00], &packet),
        );
        // Cut anywhere within the headers.
        for len in 0..28 {
            rises(&other, &frame(&[0x08, 0x00], &packet[..len]));
        }
    });
}

/// A packet of which the kernel has only the Ethernet header at hand, the rest in pages.
#[test]
fn a_packet_in_pages_is_read_too() {
    let network = Network::new();
    let Network { client, router, .. } = &network;
    client.ip("link set eth0 mtu 9000");
    router.ip("link set lan0 mtu 9000");
    let wire = client.enter(|| Wire::open("eth0"));
    let lan0 = mac_of(router, "lan0");
    steered_in(&network, Attach::Auto, |_, _listeners, datapath| {
        let src = addr("10.9.0.2", 5000);
        let packet = bpf::packet::udp(src, addr(SERVER4, 443), &[7; 6000]);
        let frame = [&lan0[..], &[2, 0, 0, 0, 0, 9, 0x08, 0x00], &packet].concat();
        wire.send(&frame, 14);
        peers::until(|| (datapath.counters().ok()?.rule(1).packets == 1).then_some(()))
            .expect("decided by its ports");
        // Our listeners' buffer is shorter; that it was handed over shows in the flow cache.
        let key = FlowKey {
            src,
            dst: addr(SERVER4, 443),
            proto: Proto::Udp,
        };
        assert_eq!(datapath.flow(&key).unwrap().verdict.action, Action::Proxy);
    });
}

/// The program for devices without an Ethernet header, on a real one.
#[test]
fn a_tun_device_is_steered_too() {
    let router = Namespace::new("tun");
    router.enter(|| {
        let mut tun = open_tun("tun0");
        router.ip("addr add 10.9.0.1/24 dev tun0");
        router.ip("link set tun0 up");
        let listeners = Listeners::open();
        let mut config = config(Attach::Auto, &listeners);
        config.interfaces = vec!["tun0".into()];
        let datapath = Datapath::start(&bpf::image(&rules()), config).unwrap();
        let src = addr("10.9.0.2", 5000);
        let dst = addr(SERVER4, 443);
        tun.write_all(&bpf::packet::udp(src, dst, b"hello"))
            .unwrap();
        assert_eq!(
            listeners.recv(Family::V4, false),
            (src, dst, b"hello".to_vec())
        );
        assert!(datapath.stop().is_empty());
    });
}

fn mac_of(namespace: &Namespace, device: &str) -> [u8; 6] {
    let text = namespace.ip(&format!("link show {device}"));
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap().parse::<Mac>().unwrap().0
}

/// A packet socket that sends whole frames.
struct Wire {
    socket: OwnedFd,
    device: i32,
}

impl Wire {
    /// On a device of the current namespace.
    fn open(device: &str) -> Self {
        let device = nix::net::if_::if_nametoindex(device).unwrap() as i32;
        // SAFETY: makes a descriptor and touches no memory of ours.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: just made, for us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let one = 1;
        // SAFETY: the kernel reads the four bytes of `one`.
        let result = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_VNET_HDR,
                (&raw const one).cast(),
                4,
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Self { socket, device }
    }

    /// Sends a frame; the kernel keeps `linear` bytes of a long one in one piece, 0: all.
    fn send(&self, frame: &[u8], linear: u16) {
        // struct virtio_net_hdr: flags, GSO type, hdr_len, GSO size, checksum start, offset.
        let mut bytes = vec![0, 0];
        bytes.extend(linear.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(frame);
        // SAFETY: all zero is a valid address, of which the needed fields follow.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.device;
        // SAFETY: the kernel reads `bytes` and `to`, whose lengths are told.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(
            sent,
            bytes.len() as isize,
            "{}",
            std::io::Error::last_os_error()
        );
    }
}

fn open_tun(name: &str) -> std::fs::File {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // struct ifreq: the name, then the flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    let fd: OwnedFd = file.into();
    // SAFETY: the kernel reads and writes the 40 bytes of `request`.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            libc::TUNSETIFF,
            request.as_mut_ptr(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    fd.into()
}
