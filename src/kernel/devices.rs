//! From the interfaces of the configuration to devices. I/O: rtnetlink, and only in [`list`].

use std::io;

use super::netlink::{Client, Request, u16_at, u32_at};

/// include/uapi/linux/if_arp.h
const ARPHRD_RAWIP: u16 = 519;

/// A device of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name.
    pub name: String,
    /// Index, never used again for another device while the kernel runs.
    pub index: u32,
    /// `ARPHRD_*`: what its packets begin with.
    pub kind: u16,
}

/// A section `config interface` of `/etc/config/network`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Section name: `lan`.
    pub name: String,
    /// `option device`, or `option ifname` before OpenWrt 21.02; the words of both.
    pub devices: Vec<String>,
    /// `option type 'bridge'`, before OpenWrt 21.02.
    pub bridge: bool,
    /// `option proto`.
    pub proto: String,
}

/// What a device's packets begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// An Ethernet header.
    Ether,
    /// The IP header.
    Ip,
}

impl Device {
    /// None: neither, so that we cannot read its packets.
    pub fn head(&self) -> Option<Head> {
        match self.kind {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(Head::Ether),
            libc::ARPHRD_NONE
            | ARPHRD_RAWIP
            | libc::ARPHRD_PPP
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_TUNNEL6
            | libc::ARPHRD_SIT
            | libc::ARPHRD_IPGRE => Some(Head::Ip),
            _ => None,
        }
    }
}

/// Names of the devices that an interface of the configuration means: the device of that
/// name if there is one, else those of the network of that name. They need not exist yet.
pub fn names(interface: &str, devices: &[Device], networks: &[Network]) -> Vec<String> {
    if devices.iter().any(|device| device.name == interface) {
        return vec![interface.into()];
    }
    let network = |name: &str| networks.iter().find(|network| network.name == name);
    let Some(mut found) = network(interface) else {
        return vec![interface.into()];
    };
    // `option device '@lan'` means the device of network lan; a chain of them is not followed
    // for ever.
    for _ in 0..networks.len() {
        match found.devices.as_slice() {
            [alias] if alias.starts_with('@') => match network(&alias[1..]) {
                Some(next) => found = next,
                None => break,
            },
            _ => break,
        }
    }
    if found.bridge {
        vec![format!("br-{}", found.name)]
    } else if found.devices.is_empty() {
        // Of WireGuard and its kin, the network's name is the device's.
        vec![found.name.clone()]
    } else {
        found.devices.clone()
    }
}

/// All devices of the network namespace.
pub fn list(client: &mut Client) -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    // struct ifinfomsg of no device in particular.
    let request = Request::new(libc::RTM_GETLINK, 0, &[0; 16]);
    client.dump(request, |message| {
        let Some((body, attrs)) = message.split::<16>() else {
            return;
        };
        let name = attrs.get(libc::IFLA_IFNAME).unwrap_or_default();
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        let (Some(kind), Some(index)) = (u16_at(body, 2), u32_at(body, 4)) else {
            return;
        };
        devices.push(Device {
            name: String::from_utf8_lossy(name).into_owned(),
            index,
            kind,
        });
    })?;
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        Device {
            name: name.into(),
            index: 1,
            kind: libc::ARPHRD_ETHER,
        }
    }

    fn network(name: &str, devices: &[&str]) -> Network {
        Network {
            name: name.into(),
            devices: devices.iter().map(ToString::to_string).collect(),
            ..Network::default()
        }
    }

    #[test]
    fn a_name_means_a_device_or_the_devices_of_a_network() {
        let devices = [device("br-lan"), device("lan")];
        let mut old = network("office", &["eth0", "eth1"]);
        old.bridge = true;
        let networks = [
            network("lan", &["br-lan"]),
            network("main", &["br-lan"]),
            network("guest", &["br-lan.3"]),
            network("wg0", &[]),
            network("main6", &["@main"]),
            network("main7", &["@main6"]),
            network("a", &["@b"]),
            network("b", &["@a"]),
            network("ports", &["lan1", "lan2"]),
            old,
        ];
        for (interface, wanted) in [
            ("lan", &["lan"][..]),
            ("br-lan", &["br-lan"]),
            ("main", &["br-lan"]),
            ("guest", &["br-lan.3"]),
            ("wg0", &["wg0"]),
            ("main6", &["br-lan"]),
            ("main7", &["br-lan"]),
            ("ports", &["lan1", "lan2"]),
            ("office", &["br-office"]),
            ("unheard", &["unheard"]),
        ] {
            assert_eq!(names(interface, &devices, &networks), wanted, "{interface}");
        }
        // A circle ends somewhere.
        assert_eq!(names("a", &devices, &networks).len(), 1);
    }

    #[test]
    fn what_packets_begin_with_is_told_by_the_kind() {
        let head = |kind| {
            Device {
                kind,
                ..device("x")
            }
            .head()
        };
        assert_eq!(head(libc::ARPHRD_ETHER), Some(Head::Ether));
        assert_eq!(head(libc::ARPHRD_NONE), Some(Head::Ip));
        assert_eq!(head(libc::ARPHRD_IEEE80211_RADIOTAP), None);
    }
}
