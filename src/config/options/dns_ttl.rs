//! `config dns_ttl`.

use crate::rules::domain::DomainPattern;

use super::*;

pub static DOMAIN: Opt<DomainPattern> = Opt::new(
    "domain",
    Text(DOMAIN_FORM),
    values::domain,
    "Names asked for. A plain name means itself and everything below it.",
)
.selector();
pub static TTL: Opt<u32> = Opt::new(
    "ttl",
    Number(0, 86_400),
    values::number,
    "The time in seconds. With 0 the answer is not kept.",
)
.required();

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[&DOMAIN, &TTL];
