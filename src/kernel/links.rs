//! The policy rules and route that make a packet with our mark local, whatever its
//! destination. I/O: rtnetlink.
//!
//! ```text
//! ip rule  add priority 202 iif lo fwmark 0x40000000/0x40000000 lookup main
//! ip rule  add priority 203 fwmark 0x40000000/0x40000000 lookup 2023
//! ip route add local default dev lo table 2023
//! ```
//!
//! The first rule is for the kernel's look at the way back (`__fib_validate_source` of
//! net/ipv4/fib_frontend.c): where `src_valid_mark` is set, as wg-quick does, it asks as if the
//! router itself sent to the client, with our mark, and must not find the client to be local.
//!
//! Both come before the rules of policy routers (mwan3 begins at 1001), which match bits of
//! the mark that they have set on our packets, too.

use std::io;

use super::look::Routing;
use super::netlink::{Attrs, Client, Request, u32_at};
use crate::error::{IoContext, Result};
use crate::net::DELIVER_MARK;
use crate::rules::Family;

/// Number of our routing table.
const TABLE: u32 = 2023;

/// Priority of the rule for the way back.
const BACK: u32 = 202;

/// Priority of the rule that delivers.
const DELIVER: u32 = 203;

/// So many policy rules of ours an IP version has.
pub const RULES: usize = 2;

/// The loopback device has this index in every network namespace (net/core/dev.c,
/// LOOPBACK_IFINDEX).
pub const LOOPBACK: u32 = 1;

// include/uapi/linux/fib_rules.h
const FR_ACT_TO_TBL: u8 = 1;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;

/// What the kernel says of a rule or route that is not there, or of an IP version it lacks.
const ABSENT: [i32; 5] = [
    libc::ENOENT,
    libc::ESRCH,
    libc::EAFNOSUPPORT,
    libc::EOPNOTSUPP,
    libc::ENODEV,
];

/// What the kernel says where IPv6 is switched off by sysctl, or not built in.
const NO_IPV6: [i32; 3] = [libc::EACCES, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];

/// Makes sure that rules and route of an IP version are there. False: the router has no such
/// IP version now.
pub fn ensure(client: &mut Client, family: Family) -> Result<bool> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    match client.ask(route(libc::RTM_NEWROUTE, flags, family)) {
        Err(error) if is_one_of(&error, &NO_IPV6) && family == Family::V6 => return Ok(false),
        Err(error) if is_one_of(&error, &[libc::EEXIST]) => {}
        other => other.context(|| format!("route of table {TABLE}, is lo up?"))?,
    }
    for priority in [BACK, DELIVER] {
        client
            .ask_unless(
                rule(libc::RTM_NEWRULE, flags, family, priority),
                &[libc::EEXIST],
            )
            .context(|| format!("policy rule {priority}"))?;
    }
    Ok(true)
}

/// Removes rules and route of both IP versions, however many there are.
pub fn remove(client: &mut Client) -> Result<()> {
    let mut first = Ok(());
    for family in [Family::V4, Family::V6] {
        for priority in [BACK, DELIVER] {
            let removed = until_absent(|| client.ask(rule(libc::RTM_DELRULE, 0, family, priority)));
            first = first.and(removed.context(|| format!("remove policy rule {priority}")));
        }
        let routes = until_absent(|| client.ask(route(libc::RTM_DELROUTE, 0, family)))
            .context(|| format!("remove route of table {TABLE}"));
        first = first.and(routes);
    }
    first
}

/// What is there of an IP version, whoever has made it.
pub fn count(client: &mut Client, family: Family) -> io::Result<Routing> {
    let mut found = Routing::default();
    let mut body = [0; 12];
    body[0] = address_family(family);
    let dump = |client: &mut Client, kind, each: &mut dyn FnMut(&[u8; 12], Attrs<'_>)| {
        let listed = client.dump(Request::new(kind, 0, &body), |message| {
            if let Some((body, attrs)) = message.split::<12>() {
                each(body, attrs);
            }
        });
        match listed {
            // A kernel without this IP version.
            Err(error) if is_one_of(&error, &ABSENT) => Ok(()),
            other => other,
        }
    };
    dump(client, libc::RTM_GETRULE, &mut |body, attrs| {
        found.rules += usize::from(is_our_rule(family, body, attrs));
    })?;
    dump(client, libc::RTM_GETROUTE, &mut |body, attrs| {
        note_route(&mut found, family, body, attrs);
    })?;
    Ok(found)
}

/// `struct fib_rule_hdr` of a rule begins with the address family. A kernel without this IP
/// version hands out the rules of the other.
fn is_our_rule(family: Family, body: &[u8; 12], attrs: Attrs<'_>) -> bool {
    let priority = number(attrs.get(FRA_PRIORITY));
    body[0] == address_family(family)
        && (priority == Some(BACK) || priority == Some(DELIVER))
        && number(attrs.get(FRA_FWMARK)) == Some(DELIVER_MARK)
}

/// Counts a route by its `struct rtmsg`: family, length of the destination, type. A kernel without
/// this IP version hands out the routes of the other.
fn note_route(found: &mut Routing, family: Family, body: &[u8; 12], attrs: Attrs<'_>) {
    if body[0] != address_family(family) {
        return;
    }
    let table = number(attrs.get(libc::RTA_TABLE));
    found.routes += usize::from(table == Some(TABLE));
    let is_main = table == Some(u32::from(libc::RT_TABLE_MAIN));
    if body[1] == 0 && body[7] == libc::RTN_UNICAST {
        found.defaults += usize::from(is_main);
        found.others += usize::from(!is_main && table != Some(TABLE));
    }
}

fn number(attr: Option<&[u8]>) -> Option<u32> {
    attr.and_then(|value| u32_at(value, 0))
}

fn until_absent(mut remove: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match remove() {
            Ok(()) => {}
            Err(error) if is_one_of(&error, &ABSENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn is_one_of(error: &io::Error, codes: &[i32]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// A request about one of our rules: `struct fib_rule_hdr` and attributes.
fn rule(kind: u16, flags: i32, family: Family, priority: u32) -> Request {
    let mut body = [0; 12];
    body[0] = address_family(family);
    body[7] = FR_ACT_TO_TBL;
    let request = Request::new(kind, flags, &body)
        .attr(FRA_PRIORITY, &priority.to_ne_bytes())
        .attr(FRA_FWMARK, &DELIVER_MARK.to_ne_bytes())
        .attr(FRA_FWMASK, &DELIVER_MARK.to_ne_bytes());
    if priority == BACK {
        let main = u32::from(libc::RT_TABLE_MAIN);
        return request
            .attr(FRA_IIFNAME, b"lo\0")
            .attr(FRA_TABLE, &main.to_ne_bytes());
    }
    request.attr(FRA_TABLE, &TABLE.to_ne_bytes())
}

/// A request about our route: `struct rtmsg` and attributes.
fn route(kind: u16, flags: i32, family: Family) -> Request {
    let mut body = [0; 12];
    body[0] = address_family(family);
    body[5] = libc::RTPROT_STATIC;
    body[6] = libc::RT_SCOPE_HOST;
    body[7] = libc::RTN_LOCAL;
    Request::new(kind, flags, &body)
        .attr(libc::RTA_TABLE, &TABLE.to_ne_bytes())
        .attr(libc::RTA_OIF, &LOOPBACK.to_ne_bytes())
}

fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute of four bytes.
    fn attr(kind: u16, value: u32) -> Vec<u8> {
        let head = [8u16.to_ne_bytes(), kind.to_ne_bytes()].concat();
        [head, value.to_ne_bytes().to_vec()].concat()
    }

    #[test]
    fn rules_and_routes_of_the_other_ip_version_are_not_ours() {
        let families = [Family::V4, Family::V6];
        for (family, other) in families.into_iter().zip(families.into_iter().rev()) {
            let mut body = [0; 12];
            body[0] = address_family(family);
            for (priority, mark, ours) in [
                (BACK, DELIVER_MARK, true),
                (DELIVER, DELIVER_MARK, true),
                (DELIVER, 1, false),
                (1, DELIVER_MARK, false),
            ] {
                let attrs = [attr(FRA_PRIORITY, priority), attr(FRA_FWMARK, mark)].concat();
                assert_eq!(is_our_rule(family, &body, Attrs(&attrs)), ours);
                assert!(!is_our_rule(other, &body, Attrs(&attrs)));
            }
            body[7] = libc::RTN_UNICAST;
            let (mut found, mut none) = (Routing::default(), Routing::default());
            let main = libc::RT_TABLE_MAIN.into();
            for table in [TABLE, main, main, 100] {
                let attrs = attr(libc::RTA_TABLE, table);
                note_route(&mut found, family, &body, Attrs(&attrs));
                note_route(&mut none, other, &body, Attrs(&attrs));
            }
            let counts = (found.routes, found.defaults, found.others);
            assert_eq!((counts, none), ((1, 2, 1), Routing::default()));
        }
    }
}
