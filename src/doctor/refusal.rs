//! What the kernel, or a reload, has refused, and what to do about it. Pure.

use serde_json::Value;

use super::facts::Facts;
use super::judge::rows;
use super::page::Findings;
use crate::daemon::TRIED_AGAIN;

/// Packages of what the older way to hang a program needs.
pub(super) const MODULES: &str = "kmod-sched-core kmod-sched-bpf";

impl Findings {
    /// What came of the last reload, but for what is told elsewhere.
    pub(super) fn last_reload(&mut self, facts: &Facts, status: &Value) {
        let check = "reload";
        let last = &status["reload"]["last"];
        if let Some(reason) = last["reason"].as_str() {
            let words = format_args!("the last reload changed nothing: {reason}");
            self.bad(check, &words, "mend that, then: dae reload");
        }
        for entry in rows(&last["amiss"]).filter_map(Value::as_str) {
            if !is_told_or_over(facts, entry) {
                let words = format_args!("the last reload could not do all: {entry}");
                self.bad(check, &words, &cure_of_daemon(entry, facts.install));
            }
        }
        let waiting: Vec<&str> = rows(&last["restart"]).filter_map(Value::as_str).collect();
        if !waiting.is_empty() {
            let words = format_args!("{} not in force before a restart", waiting.join(", "));
            self.bad(check, &words, "service dae restart");
        }
    }
}

/// Whether what a reload could not do is told of the kernel or of devices, or no longer so.
fn is_told_or_over(facts: &Facts, entry: &str) -> bool {
    // Of all of it, datapath_error says how it is now.
    if entry.ends_with(TRIED_AGAIN) {
        return true;
    }
    let Some((hook, device)) = place(entry) else {
        let of_all = facts.status().map(|it| &it["datapath_error"]);
        let mut refused = facts.rows("refused").map(|it| &it["reason"]).chain(of_all);
        return refused.any(|reason| *reason == entry);
    };
    // Without our program it is told among those refused, or is gone.
    let mut rows = facts.rows("devices");
    let hangs = rows.find(|it| it["device"] == device);
    hangs.is_none_or(|it| it["hook"] == hook)
}

/// What of a device was refused: how it should hang, and which device.
fn place(reason: &str) -> Option<(&str, &str)> {
    let (what, _) = reason.strip_prefix("bpf ")?.split_once(": ")?;
    what.split_once(" on ").or_else(|| what.split_once(" to "))
}

/// What to do about what the kernel has refused a daemon that lives.
pub(super) fn cure_of_daemon(reason: &str, install: &str) -> String {
    // It runs as root: whoever started it has kept rights from it.
    if reason.contains("not allowed") || reason.contains("(os error 1)") {
        let cure = "does a jail or container keep rights from it? /etc/capabilities/dae.json";
        return format!("{cure}; then: service dae restart");
    }
    format!("{}; then: dae reload", cure(reason, install))
}

/// What to do about words of the kernel's, or of ours about them.
pub(super) fn cure(reason: &str, install: &str) -> String {
    let says = |words: &str| reason.contains(words);
    if says("kmod-") {
        format!("{install} {MODULES}")
    } else if says("BPF_SYSCALL") {
        "use a firmware with it, as OpenWrt's own; until then list listen answers DNS".to_owned()
    } else if says("not allowed") {
        "run this as root".to_owned()
    } else if says("is lo up?") {
        "ip link set lo up".to_owned()
    // A map of more entries than the kernel can count is too large, a program has too much code.
    } else if says("(os error 12)") || says("load: map ") && says("(os error 7)") {
        "lower max_flows and max_names, or stop other services".to_owned()
    } else if says("neither Ethernet nor IP") {
        "take it out of list interface".to_owned()
    } else {
        match place(reason) {
            Some(("tcx", _)) => "write option attach 'auto'".to_owned(),
            Some(("clsact", device)) if says("(os error 22)") && !device.contains(' ') => {
                format!("tc filter show dev {device} ingress; remove what has our place, pref 2023")
            }
            _ => "logread -e dae; tell dae's makers, with uname -a".to_owned(),
        }
    }
}
