//! Compiles `bpf/dae.c` to the object that `src/kernel/object.rs` embeds. Tells what to
//! install when a tool is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("dae.o");
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
    // aya reads the maps from .BTF; line numbers would only ever be read by a developer.
    let mut strip = Command::new("llvm-strip");
    strip.args(["--strip-debug", "--discard-all"]);
    strip.arg("--remove-section=.BTF.ext").arg(&out);
    run(&mut strip, "llvm");
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
    let problem = match tool.status() {
        Ok(status) if status.success() => return,
        Ok(status) => format!(
            "{name} on bpf/dae.c ended with {status}; if it misses linux/*.h or asm/*.h, install linux-libc-dev"
        ),
        Err(error) => {
            format!(
                "cannot run {name}: {error}; on Debian install it with `apt-get install {package}`"
            )
        }
    };
    println!("cargo::error={problem}");
    exit(1);
}
