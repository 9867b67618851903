//! Compiles `bpf/dae.c` for `src/kernel/code.rs`: to an object, and that to its instructions and
//! maps as Rust, so that the daemon reads neither ELF nor BTF. Tells what to install when a tool
//! is missing.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

use aya_obj::Object;
use aya_obj::generated::bpf_insn;

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let out = folder.join("dae.o");
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g"]);
    clang.args(["-Wall", "-Wextra", "-Werror"]);
    // .BTF names the source files: not by where the builder has them.
    clang.arg("-fdebug-compilation-dir=.");
    if let Some(folder) = asm_headers() {
        clang.arg("-idirafter").arg(folder);
    }
    clang.args(["-c", "bpf/dae.c", "-o"]).arg(&out);
    run(&mut clang, "clang");
    // The maps are described in .BTF; line numbers would only ever be read by a developer.
    let mut strip = Command::new("llvm-strip");
    strip.args(["--strip-debug", "--discard-all"]);
    strip.arg("--remove-section=.BTF.ext").arg(&out);
    run(&mut strip, "llvm");
    let written = fs::read(&out)
        .map_err(|error| error.to_string())
        .and_then(|object| code(&object))
        .and_then(|code| fs::write(folder.join("code.rs"), code).map_err(|it| it.to_string()));
    if let Err(error) = written {
        fail(&format!("{}: {error}", out.display()));
    }
}

/// The folder of `asm/types.h`, where a distribution keeps it apart for each architecture, as
/// Debian does. Whose architecture it is does not matter: only fixed-size integers are used.
fn asm_headers() -> Option<PathBuf> {
    let has_asm = |folder: &Path| folder.join("asm/types.h").is_file();
    let root = Path::new("/usr/include");
    if has_asm(root) {
        return None;
    }
    let folders = fs::read_dir(root).ok()?;
    let mut found: Vec<_> = folders
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| has_asm(path))
        .collect();
    found.sort();
    found.into_iter().next()
}

/// Runs a tool of Debian's `package`, or ends the build with words that help.
fn run(tool: &mut Command, package: &str) {
    let name = tool.get_program().to_string_lossy().into_owned();
    match tool.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!(
            "{name} on bpf/dae.c ended with {status}; if it misses linux/*.h or asm/*.h, install linux-libc-dev"
        )),
        Err(error) => fail(&format!(
            "cannot run {name}: {error}; on Debian install it with `apt-get install {package}`"
        )),
    }
}

fn fail(problem: &str) -> ! {
    println!("cargo::error={problem}");
    exit(1);
}

/// The tables of `src/kernel/code.rs`: maps by name, and programs in which maps have their places
/// in that table where the kernel will want descriptors.
fn code(bytes: &[u8]) -> Result<String, String> {
    let mut object = Object::parse(bytes).map_err(|error| error.to_string())?;
    let mut maps: Vec<_> = object.maps.clone().into_iter().collect();
    maps.sort_by(|(one, _), (other, _)| one.cmp(other));
    let numbered = (0..).zip(&maps);
    let numbered = numbered.map(|(number, (name, map))| (name.as_str(), number, map));
    let sections: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let linked = object.relocate_maps(numbered, &sections);
    linked.map_err(|error| error.to_string())?;
    let linked = object.relocate_calls(&sections);
    linked.map_err(|error| error.to_string())?;

    let mut text = format!("pub static MAPS: [MapSpec; {}] = [\n", maps.len());
    for (name, map) in &maps {
        // Such data would have to be copied into the map, and instructions name its bytes.
        if !map.data().is_empty() {
            return Err(format!("{name} has data: keep it in a map of its own"));
        }
        let _ = writeln!(
            text,
            "MapSpec {{ name: {name:?}, kind: {}, key: {}, value: {}, entries: {}, flags: {} }},",
            map.map_type(),
            map.key_size(),
            map.value_size(),
            map.max_entries(),
            map.map_flags()
        );
    }
    let _ = writeln!(
        text,
        "];\npub static LICENSE: &CStr = c{:?};",
        object.license.to_string_lossy()
    );
    let mut programs: Vec<_> = object.programs.iter().collect();
    programs.sort_by_key(|(name, _)| *name);
    let _ = writeln!(
        text,
        "pub static PROGRAMS: [(&str, &[u64]); {}] = [",
        programs.len()
    );
    for (name, program) in programs {
        let function = object.functions.get(&program.function_key());
        let function = function.ok_or_else(|| format!("{name} has no code"))?;
        let words: Vec<_> = function.instructions.iter().map(word).collect();
        let _ = writeln!(text, "({name:?}, &{words:?}),");
    }
    text.push_str("];\n");
    Ok(text)
}

/// `struct bpf_insn` of include/uapi/linux/bpf.h, as a little-endian number.
fn word(instruction: &bpf_insn) -> u64 {
    u64::from(instruction.code)
        | u64::from(instruction.dst_reg()) << 8
        | u64::from(instruction.src_reg()) << 12
        | u64::from(instruction.off as u16) << 16
        | u64::from(instruction.imm as u32) << 32
}
