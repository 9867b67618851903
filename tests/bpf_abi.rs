//! The compiled object keeps its promises: the layout that Rust believes in, and the laws that
//! let it load on every kernel and machine of ours. Needs clang, and root for the loading.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bpf;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::io;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

use aya_obj::Object;
use aya_obj::generated::{bpf_insn, bpf_prog_info};
use dae::kernel::abi::*;
use dae::net::{DELIVER_MARK, OWN_MARK};
use dae::rules::image::{self, kind};
use dae::rules::{Action, Family, Proto};

/// The compiled object, see build.rs.
fn object() -> Object {
    let bytes = std::fs::read(concat!(env!("OUT_DIR"), "/dae.o")).unwrap();
    Object::parse(&bytes).unwrap()
}

/// Lets clang compare the header with what Rust says of it.
#[test]
fn rust_mirrors_the_header() {
    let mut code = String::from("#include <stddef.h>\n#include \"dae.h\"\n");
    let mut equal = |c: &str, rust: usize| {
        writeln!(code, "_Static_assert({c} == {rust}, \"{c}\");").unwrap();
    };
    macro_rules! mirror {
        ($name:literal, $type:ty, $($field:ident),*) => {
            equal(concat!("sizeof(struct ", $name, ")"), size_of::<$type>());
            $(equal(
                concat!("offsetof(struct ", $name, ", ", stringify!($field), ")"),
                offset_of!($type, $field),
            );)*
        };
    }
    mirror!("dae_vector", Vector, word);
    mirror!("dae_node", Node, child);
    mirror!("dae_addr", Addr,);
    mirror!("dae_mac", MacKey, addr, pad);
    mirror!("dae_ports", Ports, vector);
    mirror!("dae_verdict", VerdictValue, mark, outbound, action, pad);
    mirror!(
        "dae_flow_key",
        FlowKeyValue,
        src,
        dst,
        src_port,
        dst_port,
        proto,
        pad
    );
    mirror!(
        "dae_flow", FlowValue, mark, epoch, counter, outbound, action, pad
    );
    mirror!(
        "dae_settings",
        Settings,
        epoch,
        deliver_mark,
        own_mark,
        dns,
        closed,
        port,
        asked,
        miss,
        kind,
        dscp
    );
    mirror!("dae_counter", Counter, packets, bytes);
    mirror!("dae_net6", Net6, prefix_len, addr);
    for (c, rust) in [
        ("DAE_RULES", RULES),
        ("DAE_VECTORS", VECTORS),
        ("DAE_VECTOR_ALL", image::VECTOR_ALL.into()),
        ("DAE_NODE_INNER", NODE_INNER),
        ("DAE_TABLE_SRC", TABLE_SRC as u32),
        ("DAE_TABLE_DST", TABLE_DST as u32),
        ("DAE_TABLE_NAME", TABLE_NAME as u32),
        ("DAE_TABLE_MAC", TABLE_MAC as u32),
        ("DAE_TABLE_INTERFACE", TABLE_INTERFACE as u32),
        ("DAE_TABLE_SRC_PORT", TABLE_SRC_PORT as u32),
        ("DAE_TABLE_DST_PORT", TABLE_DST_PORT as u32),
        ("DAE_HOST_NAMELESS", HOST_NAMELESS.into()),
        ("DAE_HOST_OWN", HOST_OWN),
        ("DAE_KIND_UDP", kind(Proto::Udp, Family::V4) as u32),
        ("DAE_KIND_V6", kind(Proto::Tcp, Family::V6) as u32),
        ("DAE_PORT_DNS", PORT_DNS as u32),
        ("DAE_DIRECT", Action::Direct as u32),
        ("DAE_BLOCK", Action::Block as u32),
        ("DAE_PROXY", Action::Proxy as u32),
        ("DAE_DIRECT", DIRECT.into()),
        ("DAE_BLOCK", BLOCK.into()),
        ("DAE_PROXY", PROXY.into()),
        ("DAE_COUNT_DEFAULT", Count::Default as u32),
        ("DAE_COUNT_DNS", Count::Dns as u32),
        ("DAE_COUNT_LOCAL", Count::Local as u32),
        ("DAE_COUNT_GROUPCAST", Count::Groupcast as u32),
        ("DAE_COUNT_OTHER", Count::Other as u32),
        ("DAE_COUNT_MIDSTREAM", Count::Midstream as u32),
        ("DAE_COUNT_RESUMED", Count::Resumed as u32),
        ("DAE_COUNT_FRAGMENT", Count::Fragment as u32),
        ("DAE_COUNT_FAIL_OPEN", Count::FailOpen as u32),
        ("DAE_COUNT_FLOW_FULL", Count::FlowFull as u32),
        ("DAE_COUNTERS", COUNTERS),
    ] {
        equal(c, rust as usize);
    }
    assert_eq!(DELIVER_MARK & OWN_MARK, 0);
    let mut clang = Command::new("clang")
        .args(["-target", "bpf", "-fsyntax-only", "-x", "c", "-I", "bpf"])
        .args(asm_headers())
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    clang
        .stdin
        .take()
        .unwrap()
        .write_all(code.as_bytes())
        .unwrap();
    assert!(clang.wait().unwrap().success());
}

/// Debian's folder of `asm/types.h`.
fn asm_headers() -> Vec<String> {
    let folders = std::fs::read_dir("/usr/include").unwrap().flatten();
    let with_asm = folders
        .map(|it| it.path())
        .find(|path| path.join("asm/types.h").is_file());
    with_asm.map_or(Vec::new(), |path| {
        vec!["-idirafter".into(), path.display().to_string()]
    })
}

/// `BPF_FUNC_*` that kernel 5.10 has and we may use; by number, as in the header.
const HELPERS: [i32; 9] = [
    1,  // map_lookup_elem
    2,  // map_update_elem
    26, // skb_load_bytes
    39, // skb_pull_data
    84, // sk_lookup_tcp
    85, // sk_lookup_udp
    86, // sk_release
    95, // sk_fullsock
    99, // skc_lookup_tcp
];
const SK_ASSIGN: i32 = 124;

#[test]
fn the_object_keeps_the_laws() {
    let object = object();
    let names: BTreeSet<_> = object.programs.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["dae_eth", "dae_ip"]));
    assert_eq!(object.functions.len(), 2, "no function but the programs");
    assert!(!object.has_btf_relocations(), "no CO-RE");
    assert_eq!(object.license.to_str().unwrap(), "Dual MIT/GPL");
    for function in object.functions.values() {
        for (at, insn) in function.instructions.iter().enumerate() {
            let (class, operation) = (insn.code & 7, insn.code & 0xf0);
            match (class, operation) {
                // BPF_JMP | BPF_CALL, source 0: a helper; 1: a function of ours.
                (5, 0x80) => {
                    assert_eq!(insn.src_reg(), 0, "{}: a call at {at}", function.name);
                    let known = HELPERS.contains(&insn.imm) || insn.imm == SK_ASSIGN;
                    assert!(known, "{}: helper {} at {at}", function.name, insn.imm);
                }
                // BPF_ALU64 with BPF_DIV or BPF_MOD.
                (7, 0x30 | 0x90) => panic!("{}: 64-bit division at {at}", function.name),
                // BPF_STX | BPF_ATOMIC with BPF_FETCH.
                (3, _) if insn.code & 0xe0 == 0xc0 && insn.imm & 1 != 0 => {
                    panic!("{}: an atomic that fetches at {at}", function.name)
                }
                _ => {}
            }
        }
    }
}

/// Machines that cannot load unaligned words (mips) verify so.
const BPF_F_STRICT_ALIGNMENT: u32 = 1;

/// How many instructions the verifier may walk through for each program: time and memory that
/// every start and every reload takes on a router.
const MAX_VERIFIED: u32 = 25_000;

#[test]
fn the_object_loads_in_few_steps_also_where_words_must_be_aligned() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let mut object = object();
    let maps: Vec<_> = object
        .maps
        .iter()
        .map(|(name, map)| (name.clone(), create_map(map), map.clone()))
        .collect();
    let sections: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let fds = maps
        .iter()
        .map(|(name, fd, map)| (name.as_str(), fd.as_raw_fd(), map));
    object.relocate_maps(fds, &sections).unwrap();
    object.relocate_calls(&sections).unwrap();
    for (name, program) in &object.programs {
        let code = &object.functions[&program.function_key()].instructions;
        for flags in [0, BPF_F_STRICT_ALIGNMENT] {
            let loaded = load(code, flags).unwrap_or_else(|error| panic!("{name}: {error}"));
            let steps = verified(&loaded);
            assert!(
                (1..=MAX_VERIFIED).contains(&steps),
                "{name}, flags {flags}: the verifier walked through {steps} instructions, \
                 at most {MAX_VERIFIED} are meant (0: this kernel does not say, 5.16 does)"
            );
        }
    }
}

/// How many instructions the verifier walked through (BPF_OBJ_GET_INFO_BY_FD, kernel 5.16).
fn verified(program: &OwnedFd) -> u32 {
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    #[repr(C)]
    struct GetInfo {
        program: libc::c_int,
        size: u32,
        info: u64,
    }
    let mut info = [0u32; size_of::<bpf_prog_info>() / 4];
    let attributes = GetInfo {
        program: program.as_raw_fd(),
        size: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes).unwrap();
    info[offset_of!(bpf_prog_info, verified_insns) / 4]
}

fn create_map(map: &aya_obj::Map) -> OwnedFd {
    let max_entries = map.max_entries().max(1);
    // Type, key size, value size, entries, flags: the head of `union bpf_attr`.
    let attributes = [
        map.map_type(),
        map.key_size(),
        map.value_size(),
        max_entries,
        map.map_flags(),
    ];
    bpf(0, &attributes).map(owned).unwrap()
}

/// Loads a classifier; the error has the end of the verifier's log.
fn load(code: &[bpf_insn], flags: u32) -> Result<OwnedFd, String> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
    }
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    let mut log = vec![0u8; 1 << 24];
    let attributes = Load {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        kernel: 0,
        flags,
    };
    bpf(5, &attributes).map(owned).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8_lossy(&log[..end]).into_owned();
        let last: Vec<_> = text.lines().rev().take(12).collect();
        format!(
            "{error}\n{}",
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        )
    })
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is as long as told, and what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as libc::c_int)
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
