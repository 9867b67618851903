//! What `dae check` prints.

use std::fmt::Write;

use super::Config;
use super::types::OutboundKind;

/// Outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For the terminal; ends with a newline. Problems belong on stderr, the rest on stdout.
    pub text: String,
    /// Whether the configuration could be applied.
    pub good: bool,
}

/// Checks a file's bytes. `compile` is what must succeed behind reading (the rules' tables must
/// fit into the kernel's maps); its error is one line for the user.
pub fn check(
    file_name: &str,
    text: &[u8],
    compile: impl FnOnce(&Config) -> Result<(), String>,
) -> Report {
    let config = match Config::parse(file_name, text) {
        Ok(config) => config,
        Err(problems) => {
            let mut text = String::new();
            for problem in &problems {
                let _ = writeln!(text, "{problem}");
            }
            let count = problems.len();
            let s = if count == 1 { "" } else { "s" };
            let _ = writeln!(text, "{file_name}: {count} problem{s}, nothing was changed");
            return Report { text, good: false };
        }
    };
    match compile(&config) {
        Ok(()) => Report {
            text: summary(file_name, &config),
            good: true,
        },
        Err(error) => Report {
            text: format!("{file_name}: {error}, nothing was changed\n"),
            good: false,
        },
    }
}

fn summary(file_name: &str, config: &Config) -> String {
    let count = |fits: fn(&OutboundKind) -> bool| {
        let kinds = config.outbounds.iter().map(|outbound| &outbound.kind);
        kinds.filter(|kind| fits(kind)).count()
    };
    let proxies = count(|kind| matches!(kind, OutboundKind::Socks5 { .. }));
    let groups = count(|kind| matches!(kind, OutboundKind::Group(_)));
    format!(
        "{file_name}: good; dae is {}, DNS is {}: interfaces {}, rules {}, nodes {proxies}, \
         groups {groups}, upstreams {}, DNS rules {}\n",
        on_off(config.main.enabled),
        on_off(config.dns.enabled),
        config.main.interfaces.len(),
        config.rules.len(),
        config.upstreams.len(),
        config.dns_rules.len(),
    )
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
