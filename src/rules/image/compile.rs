//! Rules to tables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::prefixes::{self, Side};
use super::vectors::Vectors;
use super::{AddressTable, CompileError, Image, VectorIndex, kind, ports};
use crate::rules::index::DomainIndex;
use crate::rules::net::Net;
use crate::rules::{Bits, Family, MAX_RULES, Mac, Proto, Rule, Selector, Verdict};

impl Image {
    /// Compiles rules; `default` decides when none matches, `interfaces` is the number of
    /// input interfaces that they may speak of.
    pub fn compile(
        rules: &[Rule],
        default: Verdict,
        interfaces: usize,
    ) -> Result<Self, CompileError> {
        if rules.len() > MAX_RULES {
            return Err(CompileError::TooManyRules { count: rules.len() });
        }
        let names = DomainIndex::new(rules.iter().map(|rule| &rule.domain))
            .map_err(|error| CompileError::TooManyRules { count: error.count })?;
        let mut vectors = Vectors::new(rules.len());
        let kinds = compile_kinds(rules, &mut vectors)?;
        let src = compile_addresses(rules, |rule| &rule.src_ip, &mut vectors)?;
        let dst = compile_addresses(rules, |rule| &rule.dest_ip, &mut vectors)?;
        let src_any = including_all(rules, |rule| &rule.src_port);
        let dst_any = including_all(rules, |rule| &rule.dest_port);
        let src_ports = ports::compile(
            rules.iter().map(|rule| &rule.src_port),
            src_any,
            &mut vectors,
        )?;
        let dst_ports = ports::compile(
            rules.iter().map(|rule| &rule.dest_port),
            dst_any,
            &mut vectors,
        )?;
        let macs = compile_macs(rules, &mut vectors)?;
        let mac_miss = vectors.intern(including_all(rules, |rule| &rule.src_mac))?;
        let mut dscp = [0; 64];
        for (value, vector) in (0..).zip(&mut dscp) {
            *vector = vectors.intern(accepting(rules, |rule| &rule.dscp, value))?;
        }
        let interfaces = (0..interfaces)
            .map(|value| vectors.intern(accepting(rules, |rule| &rule.interface, value as u16)))
            .collect::<Result<_, _>>()?;
        let interface_miss = vectors.intern(including_all(rules, |rule| &rule.interface))?;
        let name_miss = vectors.intern(names.unknown())?;
        Ok(Self {
            vectors: vectors.into_list(),
            src,
            dst,
            macs,
            mac_miss,
            src_ports,
            dst_ports,
            dscp,
            kinds,
            interfaces,
            interface_miss,
            names: Arc::new(names),
            name_miss,
            verdicts: rules.iter().map(|rule| rule.verdict).collect(),
            default,
        })
    }
}

/// Rules whose selector includes every value, known or not.
fn including_all<T: 'static>(rules: &[Rule], selector: impl Fn(&Rule) -> &Selector<T>) -> Bits {
    Bits::collect(rules.iter().map(|rule| selector(rule).include.is_empty()))
}

/// Rules whose selector accepts a value.
fn accepting<T: PartialEq + 'static>(
    rules: &[Rule],
    selector: impl Fn(&Rule) -> &Selector<T>,
    value: T,
) -> Bits {
    Bits::collect(
        rules
            .iter()
            .map(|rule| selector(rule).accepts(|listed| *listed == value)),
    )
}

fn compile_kinds(rules: &[Rule], vectors: &mut Vectors) -> Result<[VectorIndex; 4], CompileError> {
    let mut kinds = [0; 4];
    for proto in [Proto::Tcp, Proto::Udp] {
        for family in [Family::V4, Family::V6] {
            let vector = accepting(rules, |rule| &rule.proto, proto)
                & accepting(rules, |rule| &rule.family, family);
            kinds[kind(proto, family)] = vectors.intern_exact(vector)?;
        }
    }
    Ok(kinds)
}

fn compile_addresses(
    rules: &[Rule],
    selector: impl Fn(&Rule) -> &Selector<Net>,
    vectors: &mut Vectors,
) -> Result<AddressTable, CompileError> {
    let any = including_all(rules, &selector);
    let miss = vectors.intern(any)?;
    let nets = |rule| {
        [&selector(rule).include, &selector(rule).exclude]
            .into_iter()
            .flatten()
    };
    let count = rules
        .iter()
        .flat_map(nets)
        .filter(|net| net.addr().is_ipv4())
        .count();
    let rest = rules.iter().flat_map(nets).count() - count;
    // Lists of 100,000 prefixes are usual, and room found by doubling would cost megabytes.
    let (mut v4, mut v6) = (Vec::with_capacity(count), Vec::with_capacity(rest));
    // There are at most 256 rules, so their numbers fit a byte.
    for (number, rule) in (0..=u8::MAX).zip(rules) {
        let Selector { include, exclude } = selector(rule);
        for (nets, excludes) in [(include, false), (exclude, true)] {
            let side = Side {
                rule: number,
                excludes,
            };
            for net in nets {
                match net.addr() {
                    IpAddr::V4(addr) => v4.push((u32::from(addr), net.prefix_len(), side)),
                    IpAddr::V6(addr) => v6.push((u128::from(addr), net.prefix_len(), side)),
                }
            }
        }
    }
    let v4 = prefixes::compile(v4, any, miss, vectors)?;
    let v6 = prefixes::compile(v6, any, miss, vectors)?;
    Ok(AddressTable { v4, v6, miss })
}

fn compile_macs(
    rules: &[Rule],
    vectors: &mut Vectors,
) -> Result<Vec<(Mac, VectorIndex)>, CompileError> {
    let any = including_all(rules, |rule| &rule.src_mac);
    let mut known: BTreeMap<Mac, (Bits, Bits)> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        for mac in &rule.src_mac.include {
            known.entry(*mac).or_default().0.set(number);
        }
        for mac in &rule.src_mac.exclude {
            known.entry(*mac).or_default().1.set(number);
        }
    }
    let mut macs = Vec::with_capacity(known.len());
    for (mac, (include, exclude)) in known {
        macs.push((mac, vectors.intern((any | include) & !exclude)?));
    }
    Ok(macs)
}
