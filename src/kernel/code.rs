//! The compiled program, as build.rs made it from `bpf/dae.c`. Pure.

use std::ffi::CStr;
use std::os::fd::RawFd;

/// A map, as `bpf/maps.h` declares it.
#[derive(Debug)]
pub struct MapSpec {
    pub name: &'static str,
    /// BPF_MAP_TYPE_*.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Most entries, unless it is said otherwise at load.
    pub entries: u32,
    /// BPF_F_*.
    pub flags: u32,
}

// MAPS by name, LICENSE, and PROGRAMS: each a name and instructions (RFC 9669) that name maps by
// their place in MAPS.
include!(concat!(env!("OUT_DIR"), "/code.rs"));

/// Instructions with the descriptors of maps in place of their numbers.
pub fn link(code: &[u64], maps: &[RawFd]) -> Option<Vec<u64>> {
    // Opcode 0x18 loads 64 bits, from two words; source register 1 says that they are a map.
    const IS_MAP: u64 = 0x1018;
    let linked = code.iter().map(|word| {
        if word & 0xf0ff != IS_MAP {
            return Some(*word);
        }
        let fd = *maps.get((word >> 32) as usize)?;
        Some(word & 0xffff_ffff | u64::from(fd as u32) << 32)
    });
    linked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_get_their_descriptors_and_nothing_else_does() {
        // r1 = map 1 ll; r2 = 1 ll; r0 = 1; exit
        let code = [0x1_0000_1118, 0, 0x1_0000_0218, 0, 0x1_0000_00b7, 0x95];
        let linked = link(&code, &[70, 71]).unwrap();
        assert_eq!(linked[0], 71 << 32 | 0x1118);
        assert_eq!(linked[1..], code[1..]);
        assert_eq!(link(&code, &[70]), None);
    }

    #[test]
    fn every_map_is_named_by_a_program_and_every_name_is_a_map() {
        let fds: Vec<RawFd> = (0..MAPS.len() as RawFd).map(|it| it + 1000).collect();
        let mut named = std::collections::BTreeSet::new();
        for (_, code) in PROGRAMS {
            let linked = link(code, &fds).unwrap();
            let pairs = code.iter().zip(&linked);
            named.extend(
                pairs
                    .filter(|(a, b)| a != b)
                    .map(|(number, _)| number >> 32),
            );
        }
        assert_eq!(named.len(), MAPS.len());
    }
}
