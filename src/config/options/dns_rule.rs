//! `config dns_rule`.

use crate::rules::domain::DomainPattern;

use super::*;
use crate::config::types::Policy;

pub static NAME: Opt<String> = Opt::new(
    "name",
    Text(TITLE_FORM),
    values::title,
    "What the log and the status call this rule.",
);
pub static ENABLED: Opt<bool> = Opt::new(
    "enabled",
    Switch,
    values::switch,
    "With 0 the rule is skipped.",
)
.default("1");
pub static DOMAIN: Opt<DomainPattern> = Opt::new(
    "domain",
    Text(DOMAIN_FORM),
    values::domain,
    "Names asked for. A plain name means itself and everything below it.",
)
.selector();
pub static QTYPE: Opt<u16> =
    Opt::new("qtype", Text(QTYPE_FORM), values::qtype, "Types of query.").selector();
pub static UPSTREAM: Opt<String> = Opt::new(
    "upstream",
    Text(RESOLVER_FORM),
    values::reference,
    "Who answers. asis is the server that the client asked, reject an empty answer.",
)
.list(MAX_CANDIDATES)
.required();
pub static POLICY: Opt<Policy> = Opt::new(
    "policy",
    Word(POLICIES),
    values::policy,
    "Which of several upstreams is asked, as in section dns.",
)
.default("failover");

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[&NAME, &ENABLED, &DOMAIN, &QTYPE, &UPSTREAM, &POLICY];
