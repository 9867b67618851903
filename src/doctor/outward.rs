//! What the router needs of others: the way out, the firewall, DNS, nodes, room. Pure.

use serde_json::Value;

use super::facts::{Facts, Settings};
use super::judge::{SETTLED, rows};
use super::page::Findings;
use crate::kernel::Routing;

/// 2025 began so many seconds after 1970: certificates in use now are younger.
const BEGINNING: u64 = 1_735_689_600;
/// Free memory below which a start may fail, kB.
const LEAST_MEMORY: u64 = 8 * 1024;
/// Free space below which a folder counts as full, kB.
const LEAST_SPACE: u64 = 64;

/// Services that catch the same packets.
pub const RIVALS: [&str; 15] = [
    "daed",
    "passwall",
    "passwall2",
    "openclash",
    "clash",
    "mihomo",
    "nikki",
    "homeproxy",
    "shadowsocksr",
    "ssrp",
    "vssr",
    "v2raya",
    "xray",
    "sing-box",
    "redsocks",
];

impl Findings {
    pub(super) fn internet(&mut self, facts: &Facts) {
        let Ok(seen) = &facts.seen else { return };
        let check = "internet";
        let family = |it: &Routing| match (it.defaults, it.others) {
            (0, 0) => "none",
            (0, _) => "one, for some traffic (not in table main)",
            _ => "one",
        };
        let [v4, v6] = seen.routing.each_ref().map(family);
        match (v4, v6) {
            ("none", "none") => {
                let words = "there is no default route";
                self.bad(check, &words, "is the WAN up? ifstatus wan; ifup wan");
            }
            _ => self.good(
                check,
                &&format_args!("default route of IPv4: {v4}; of IPv6: {v6}"),
            ),
        }
    }

    pub(super) fn firewall(&mut self, facts: &Facts) {
        let Some(chain) = &facts.input_chain else {
            return;
        };
        let check = "firewall";
        match chain.contains(&format!("{:#x}", crate::net::DELIVER_MARK)) {
            true => self.good(check, &"lets in what dae has taken"),
            false => {
                let words = "zones that reject input drop what dae has taken";
                self.bad(check, &words, "service firewall restart");
            }
        }
    }

    pub(super) fn dns(&mut self, facts: &Facts) {
        let check = "dns";
        if let Ok(Settings { dns: false, .. }) = facts.config {
            return self.good(check, &"switched off: queries pass dae by");
        }
        for (address, outcome) in &facts.listeners {
            match outcome {
                Ok((ms, 0)) => self.good(check, &&format_args!("{address} answers, {ms} ms")),
                // Of an upstream that knows no root, or of ours while none of them answers.
                Ok((ms, code)) => {
                    let what = match code {
                        2 => "SERVFAIL".to_owned(),
                        3 => "NXDOMAIN".to_owned(),
                        5 => "REFUSED".to_owned(),
                        code => format!("code {code}"),
                    };
                    let words = format_args!("{address} answers ({what}), {ms} ms");
                    self.good(check, &&words);
                }
                Err(reason) => {
                    let words = format_args!("no answer from {address}: {reason}");
                    self.bad(check, &words, "service dae restart");
                }
            }
        }
        let Some(status) = facts.status() else { return };
        for (row, before) in upstreams(&status["dns"]["upstreams"], &facts.before) {
            self.upstream(row, before);
        }
        if facts.is_attached()
            && status["packets"]["dns"] == 0
            && status["uptime_s"].as_u64() > Some(SETTLED)
        {
            let words = "no query of the LAN has come by since the start";
            let cure = "do clients use DNS over HTTPS, or ask somebody on the LAN?";
            self.unsure(check, &words, cure);
        }
    }

    fn upstream(&mut self, row: &Value, before: &Value) {
        let check = "upstream";
        let name = text(row, "name");
        let transport = text(row, "transport");
        if answered(row, before) {
            let ms = row["latency_ms"].as_f64().unwrap_or_default() as u64;
            let words = format_args!("'{name}' ({transport}) answers, {ms} ms");
            return match row["udp_dead"] == true {
                true => self.bad(
                    check,
                    &format_args!("{words}, but not by UDP"),
                    "write tcp:// or tls:// in its url",
                ),
                false => self.good(check, &words),
            };
        }
        let why = match grown(row, before, "failures") {
            0 => "is silent",
            _ => "cannot be reached, or breaks off",
        };
        let cure = format!("is its url right, and its way up? logread -e {name}");
        self.bad(check, &&format_args!("'{name}' ({transport}) {why}"), &cure);
    }

    /// A node without IPv6 is no problem while it works by IPv4.
    pub(super) fn nodes(&mut self, facts: &Facts) {
        let all: Vec<&Value> = facts.rows("nodes").collect();
        for (at, first) in all.iter().enumerate() {
            let name = text(first, "node");
            if all[..at].iter().any(|it| text(it, "node") == name) {
                continue;
            }
            let of_it = || all.iter().filter(|it| text(it, "node") == name);
            let in_life = |life: &str| {
                let those = of_it().filter(|it| text(it, "life") == life);
                let networks = those.map(|it| text(it, "network"));
                networks.collect::<Vec<_>>().join(" ")
            };
            let dead = in_life("dead");
            if of_it().all(|it| text(it, "life") == "dead") {
                let cure = format!("is its url right, and does it run? logread -e {name}");
                self.bad("node", &&format_args!("'{name}' is dead ({dead})"), &cure);
            } else {
                let others = if dead.is_empty() {
                    String::new()
                } else {
                    format!(", dead in {dead}")
                };
                let alive = in_life("alive");
                let words = if alive.is_empty() {
                    "not known yet"
                } else {
                    &alive
                };
                self.good("node", &&format_args!("'{name}': {words}{others}"));
            }
        }
    }

    pub(super) fn machine(&mut self, facts: &Facts) {
        if facts.time < BEGINNING {
            let words = "years behind: no certificate will be believed";
            self.bad("clock", &words, "service sysntpd restart, or date -s");
        } else {
            self.good("clock", &"plausible");
        }
        if let Some(kb) = facts.memory {
            match kb < LEAST_MEMORY {
                true => {
                    let cure = "stop other services; lower max_flows and cache_bytes";
                    self.bad("memory", &&format_args!("{kb} kB are free"), cure);
                }
                false => self.good("memory", &&format_args!("{} MB are free", kb / 1024)),
            }
        }
        for (folder, kb) in &facts.space {
            if *kb < LEAST_SPACE {
                let words = format_args!("{folder} is full, {kb} kB are free");
                self.bad("space", &words, "remove what is not needed there");
            }
        }
    }

    pub(super) fn rivals(&mut self, facts: &Facts) {
        for name in &facts.rivals {
            let words = format_args!("service {name} is installed and may catch the same packets");
            self.unsure(
                "others",
                &words,
                &format!("service {name} stop; service {name} disable"),
            );
        }
    }
}

/// The rows of upstreams that are configured, each with what it was before.
fn upstreams<'a>(
    after: &'a Value,
    before: &'a Value,
) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let configured = rows(after).filter(|row| text(row, "name") != "asis");
    configured.filter_map(|row| {
        let old = rows(before).find(|it| text(it, "name") == text(row, "name"));
        Some((row, old?))
    })
}

#[inline(never)]
fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

#[inline(never)]
fn grown(row: &Value, before: &Value, key: &str) -> u64 {
    let of = |row: &Value| row[key].as_u64().unwrap_or_default();
    of(row).saturating_sub(of(before))
}

fn answered(row: &Value, before: &Value) -> bool {
    ["answered_udp", "answered_stream"]
        .iter()
        .any(|key| grown(row, before, key) > 0)
}

/// Whether every upstream has answered since `before`, and UDP works where it should: then there
/// is nothing to wait for.
pub fn all_answered(after: &Value, before: &Value) -> bool {
    upstreams(after, before).all(|(row, before)| answered(row, before) && row["udp_dead"] != true)
}
