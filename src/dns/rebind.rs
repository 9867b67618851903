//! Rebinding protection: names of the Internet shall not have addresses of the house, or a web
//! page could talk to devices that trust the LAN. Pure.

use std::net::IpAddr;

use crate::rules::domain::DomainPattern;
use crate::rules::private::is_private;

/// What `option rebind_protection` and `list rebind_domain` say.
#[derive(Debug, Clone)]
pub struct Rebind {
    enabled: bool,
    exempt: Vec<DomainPattern>,
}

impl Rebind {
    /// `exempt` are domains (lower case, no final dot) whose private addresses are fine, the
    /// names below them too.
    pub fn new(enabled: bool, exempt: &[Box<str>]) -> Self {
        let exempt = exempt.iter().cloned().map(DomainPattern::Suffix);
        Self {
            enabled,
            exempt: exempt.collect(),
        }
    }

    /// Whether an upstream's answer is not to be believed: `name` (lower case, no final dot) has
    /// a private address among these. Not for answers of the LAN's own server.
    pub fn forbids(&self, name: &str, addresses: &[IpAddr]) -> bool {
        self.enabled
            && addresses.iter().any(|addr| is_private(*addr))
            && !self.exempt.iter().any(|domain| domain.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_names_may_have_private_addresses() {
        let exempt = ["plex.direct".into(), "nas.example".into()];
        let rebind = Rebind::new(true, &exempt);
        let (public, private) = ("192.0.2.1".parse().unwrap(), "192.168.1.2".parse().unwrap());
        assert!(!rebind.forbids("evil.example", &[public]));
        assert!(rebind.forbids("evil.example", &[public, private]));
        for name in ["plex.direct", "a.b.plex.direct", "nas.example"] {
            assert!(!rebind.forbids(name, &[private]), "{name}");
        }
        for name in ["notplex.direct", "direct", "plex.direct.evil.example"] {
            assert!(rebind.forbids(name, &[private]), "{name}");
        }
        assert!(!Rebind::new(false, &[]).forbids("evil.example", &[private]));
        assert!(!rebind.forbids("evil.example", &[]));
    }
}
