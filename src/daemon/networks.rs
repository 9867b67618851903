//! `*` Which devices the networks of this router have.

use std::fs;

use crate::config::uci;
use crate::kernel::devices::Network;

/// Where OpenWrt says which devices a network has.
const NETWORKS: &str = "/etc/config/network";

/// The networks of this router; none where there is no such file.
pub fn read() -> Vec<Network> {
    let Ok(text) = fs::read(NETWORKS) else {
        return Vec::new();
    };
    let sections = uci::parse(&text).sections;
    let interfaces = sections
        .iter()
        .filter(|section| section.kind == "interface");
    let words = |section: &uci::Section, option: &str| {
        let values = section
            .get(option)
            .map(|entry| entry.values.as_slice())
            .unwrap_or_default();
        let words = values
            .iter()
            .flat_map(|value| value.text.split_whitespace());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    interfaces
        .filter_map(|section| {
            Some(Network {
                name: section.name.clone()?,
                devices: [words(section, "device"), words(section, "ifname")].concat(),
                bridge: section.value("type") == Some("bridge"),
                proto: section.value("proto").unwrap_or_default().to_owned(),
            })
        })
        .collect()
}
