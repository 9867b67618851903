//! From what was seen to what is wrong, and what to do. Pure.

use serde_json::Value;

use super::facts::{Daemon, Facts, Settings};
use super::page::{Finding, Findings};
use super::refusal::{MODULES, cure, cure_of_daemon};
use crate::kernel::{RULES, Routing};

/// A daemon that runs for so long, seconds, has seen a packet of a LAN that is in use.
pub(super) const SETTLED: u64 = 60;

/// What was found, the causes before their consequences.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut list = Findings(Vec::new());
    list.configuration(facts);
    list.daemon(facts);
    list.kernel(facts);
    list.devices(facts);
    list.routing(facts);
    list.internet(facts);
    list.firewall(facts);
    list.dns(facts);
    list.nodes(facts);
    list.machine(facts);
    list.rivals(facts);
    list.0
}

impl Findings {
    fn configuration(&mut self, facts: &Facts) {
        let check = "config";
        match &facts.config {
            Err((first, count)) => {
                let others = match count {
                    0 | 1 => String::new(),
                    more => format!(" (and {} more)", more - 1),
                };
                self.bad(
                    check,
                    &&format_args!("{first}{others}"),
                    "dae check, and mend them",
                );
            }
            Ok(Settings { enabled: false, .. }) => {
                let cure = "uci set dae.main.enabled=1; uci commit dae; service dae start";
                self.bad(check, &"option enabled is 0: dae does nothing", cure);
            }
            Ok(_) => self.good(check, &&format_args!("{} is valid", facts.file)),
        }
        if facts.at_boot == Some(false) {
            self.bad("boot", &"dae does not start at boot", "service dae enable");
        }
    }

    fn daemon(&mut self, facts: &Facts) {
        let check = "daemon";
        let restart = "service dae restart";
        match &facts.daemon {
            Daemon::Forbidden => self.unsure(check, &"we may not ask it", "run this as root"),
            Daemon::Silent(reason) => self.bad(check, &reason, restart),
            Daemon::Alive(status) => {
                match status["suspended"] == true && reason(status).is_none() {
                    true => self.bad(check, &"suspended: the LAN is as without dae", "dae resume"),
                    // Why there is no datapath is told of the kernel.
                    false => self.good(check, &runs(status)),
                }
                self.last_reload(facts, status);
            }
            Daemon::Dead => {
                let cure = format!("logread -e dae; {restart}");
                self.bad(check, &"was killed, or has crashed", &cure);
            }
            Daemon::Absent if facts.wanted() => {
                self.bad(check, &"does not run", "service dae start; logread -e dae");
            }
            Daemon::Absent => self.good(check, &"does not run, and is not meant to"),
        }
    }

    /// Whether the kernel takes the program.
    fn kernel(&mut self, facts: &Facts) {
        let check = "kernel";
        if let Some(reason) = facts.status().and_then(reason) {
            let words = format_args!("refuses the program, so dae has not the LAN: {reason}");
            self.bad(check, &words, &cure_of_daemon(reason, facts.install));
            return;
        }
        if let Some(tried) = &facts.trial {
            match (&tried.loaded, &tried.hung) {
                (Err(reason), _) | (_, Some(Err(reason))) => {
                    let words = format_args!("refuses the program: {reason}");
                    self.bad(check, &words, &cure(reason, facts.install));
                }
                (Ok(ms), Some(Ok(hook))) => {
                    self.good(check, &&format_args!("takes the program ({hook}), {ms} ms"));
                }
                (Ok(_), None) if facts.modules_missing.is_empty() => {
                    self.good(check, &"takes the program; its modules are there");
                }
                (Ok(_), None) => {
                    let missing = facts.modules_missing.join(" and ");
                    let words = format_args!("takes the program; to use it, it may need {missing}");
                    self.unsure(check, &words, &format!("{} {MODULES}", facts.install));
                }
            }
        } else if facts.status().is_some_and(|it| it["devices"].is_array()) {
            self.good(check, &"takes the program");
        }
        // While it is in use we have turned the compiler on, where there is one and we may.
        if facts.is_attached() && facts.jit.as_deref() == Some("0") {
            let cure = "sysctl -w net.core.bpf_jit_enable=1";
            self.bad("jit", &"the program is interpreted, which is slow", cure);
        }
    }

    fn devices(&mut self, facts: &Facts) {
        let check = "devices";
        let Ok(seen) = &facts.seen else { return };
        for (interface, names) in &facts.devices {
            let there = |name: &&String| seen.devices.iter().any(|it| it.name == **name);
            let attached = |name: &&String| hook(facts, name).is_some();
            let count = names.iter().filter(there).count();
            let all = names.join(", ");
            if count == 0 {
                let words = format_args!("interface '{interface}': there is no device {all}");
                let cure = format!("ip link; does list interface of {} say so?", facts.file);
                self.bad(check, &words, &cure);
            } else if facts.is_attached() && names.iter().filter(attached).count() < count {
                self.without_program(facts, interface, names);
            } else {
                self.good(check, &&format_args!("interface '{interface}' is {all}"));
            }
        }
        let clsact = facts.rows("devices").filter(|row| row["hook"] == "clsact");
        for name in clsact.filter_map(|row| row["device"].as_str()) {
            if let Some((_, reason)) = seen.unlisted.iter().find(|(it, _)| it == name) {
                let words = format_args!("whether {name} has our filter: {reason}");
                self.unsure(check, &words, "try again");
            } else if !seen.filters.iter().any(|it| it == name) {
                let words = format_args!("somebody has taken our filter from {name} (qos, sqm?)");
                self.bad(check, &words, "start them first, then: service dae restart");
            }
        }
        if let Some(status) = facts.status().filter(|_| facts.is_attached())
            && packets(status) == 0
            && status["uptime_s"].as_u64() > Some(SETTLED)
        {
            let words = "no packet of the LAN has come by since the start";
            self.unsure("traffic", &words, "is this router the clients' gateway?");
        }
    }

    /// An interface of which not every device has it.
    fn without_program(&mut self, facts: &Facts, interface: &str, names: &[String]) {
        let check = "devices";
        let named = |row: &&Value| names.iter().any(|it| row["device"] == it.as_str());
        let refusal = facts.rows("refused").find(named);
        if let Some(reason) = refusal.and_then(|row| row["reason"].as_str()) {
            let words = format_args!("interface '{interface}' is without dae: {reason}");
            return self.bad(check, &words, &cure_of_daemon(reason, facts.install));
        }
        let all = names.join(", ");
        let words = format_args!("interface '{interface}': {all} has not our program");
        self.bad(check, &words, "logread -e dae; service dae restart");
    }

    /// Rules, routes and filters: there while they are needed, and at no other time.
    fn routing(&mut self, facts: &Facts) {
        let check = "routing";
        let seen = match &facts.seen {
            Ok(seen) => seen,
            Err(reason) => return self.unsure(check, &reason, "run it as root"),
        };
        let is_there = |it: &Routing| (it.rules, it.routes) == (RULES, 1);
        let is_clean = |it: &Routing| (it.rules, it.routes) == (0, 0);
        let [v4, v6] = &seen.routing;
        if facts.is_attached() {
            // IPv6 that came this moment has none yet.
            // Switched off, IPv6 loses the route and keeps the rules.
            let good = is_there(v4) && (is_there(v6) || v6.routes == 0 && !facts.ipv6);
            match good {
                true => self.good(check, &"our rules and routes are there, each once"),
                false => {
                    let words = format_args!(
                        "of our {RULES} rules and 1 route there are {} and {} (IPv4), {} and {} (IPv6)",
                        v4.rules, v4.routes, v6.rules, v6.routes
                    );
                    self.bad(check, &words, "service dae restart");
                }
            }
        } else if matches!(facts.daemon, Daemon::Silent(_) | Daemon::Forbidden) {
            // Which was told of; whether they are needed nobody knows.
        } else if seen.closed {
            let words = "the kill switch is closed: what a proxy should carry is dropped";
            let cure = match facts.status() {
                Some(_) => "dae suspend opens it",
                None => "service dae start, or dae clean to open it",
            };
            self.bad(check, &words, cure);
        } else if is_clean(v4) && is_clean(v6) && seen.filters.is_empty() {
            self.good(check, &"nothing of ours is left behind");
        } else {
            // dae clean leaves a daemon that lives alone.
            let (whose, cure) = match facts.status() {
                Some(_) => ("ours", "service dae restart"),
                None => ("a dead daemon", "dae clean"),
            };
            let words = format_args!("rules, routes or filters of {whose} are left behind");
            self.bad(check, &words, cure);
        }
        if facts.forwards == Some(false) {
            let words = "the kernel forwards nothing (net.ipv4.ip_forward is 0)";
            self.bad(check, &words, "sysctl -w net.ipv4.ip_forward=1");
        }
    }
}

impl Facts {
    /// The document of a daemon that answers.
    pub(super) fn status(&self) -> Option<&Value> {
        match &self.daemon {
            Daemon::Alive(status) => Some(status),
            _ => None,
        }
    }

    fn wanted(&self) -> bool {
        !matches!(self.config, Ok(Settings { enabled: false, .. }))
    }

    /// Whether a daemon has a datapath in use.
    pub(super) fn is_attached(&self) -> bool {
        let in_use = |it: &Value| it["devices"].is_array() && it["suspended"] != true;
        self.status().is_some_and(in_use)
    }

    pub(super) fn rows(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.status().into_iter().flat_map(move |it| rows(&it[key]))
    }
}

pub(super) fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// How our program hangs on a device.
fn hook<'a>(facts: &'a Facts, device: &str) -> Option<&'a str> {
    let row = facts.rows("devices").find(|it| it["device"] == device);
    row?["hook"].as_str()
}

/// Why there is no datapath though there should be one.
fn reason(status: &Value) -> Option<&str> {
    status["datapath_error"].as_str()
}

fn runs(status: &Value) -> String {
    let number = |key: &str| status[key].as_u64().unwrap_or_default();
    format!(
        "runs for {} s, process {}",
        number("uptime_s"),
        number("pid")
    )
}

/// Packets that the program has seen.
fn packets(status: &Value) -> u64 {
    let ruled = rows(&status["rules"]).filter_map(|row| row["packets"].as_u64());
    let fates = status["packets"].as_object();
    let fates = fates.into_iter().flat_map(|it| it.values());
    ruled.chain(fates.filter_map(Value::as_u64)).sum()
}
