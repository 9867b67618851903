//! Kernel parameters that we need otherwise than they are, and put back. I/O: `/proc/sys`.

use std::fs;
use std::path::Path;

use super::state::{Journal, SysctlState};
use crate::error::{IoContext, Result};

/// Without it every packet runs through the interpreter. Some kernels start with 0 (mips).
const JIT: &str = "net/core/bpf_jit_enable";

/// Turns the compiler of BPF programs on, if it is off. Must come before they are loaded.
pub fn enable_jit(root: &Path, journal: &mut Journal) -> Result<()> {
    let path = root.join(JIT);
    // A kernel without the compiler has no such file, and works.
    let Ok(before) = fs::read_to_string(&path) else {
        return Ok(());
    };
    if before.trim() != "0" {
        return Ok(());
    }
    journal.state.sysctls.push(SysctlState {
        name: JIT.into(),
        before: before.trim().into(),
        set: "1".into(),
    });
    journal.save()?;
    if let Err(error) = fs::write(&path, "1") {
        // In a container, say: slower, but no reason not to work.
        log::warn!(event = "kernel.jit", reason:% = error; "");
        journal.state.sysctls.pop();
    }
    Ok(())
}

/// Puts everything back that is still as we set it. What cannot be written stays in the journal.
pub fn restore(root: &Path, journal: &mut Journal) -> Result<()> {
    let mut first = Ok(());
    journal.state.sysctls.retain(|sysctl| {
        let path = root.join(&sysctl.name);
        let is_ours = fs::read_to_string(&path).is_ok_and(|now| now.trim() == sysctl.set);
        if !is_ours {
            return false;
        }
        let written =
            fs::write(&path, &sysctl.before).context(|| format!("write {}", path.display()));
        let failed = written.is_err();
        if first.is_ok() {
            first = written;
        }
        failed
    });
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in place of `/proc/sys`, with this in the file.
    fn root(what: &str, value: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("dae-sysctl-{what}-{}", std::process::id()));
        fs::create_dir_all(root.join("net/core")).unwrap();
        fs::write(root.join(JIT), value).unwrap();
        root
    }

    #[test]
    fn the_compiler_is_turned_on_and_put_back() {
        for (what, before, after_user, restored) in [
            ("off", "0\n", None, "0"),
            ("on", "1\n", None, "1\n"),
            ("debug", "2\n", None, "2\n"),
            ("changed", "0\n", Some("2\n"), "2\n"),
        ] {
            let root = root(what, before);
            let mut journal = Journal::open(&root).unwrap();
            enable_jit(&root, &mut journal).unwrap();
            let now = fs::read_to_string(root.join(JIT)).unwrap();
            assert_ne!(now.trim(), "0", "{what}");
            if let Some(value) = after_user {
                fs::write(root.join(JIT), value).unwrap();
            }
            // As the next instance does, from what the file says.
            let mut journal = Journal::open(&root).unwrap();
            restore(&root, &mut journal).unwrap();
            let now = fs::read_to_string(root.join(JIT)).unwrap();
            assert_eq!(now, restored, "{what}");
            fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_put_back_stays_known() {
        let root = root("stuck", "1");
        let mut journal = Journal::open(&root).unwrap();
        // A parameter that nobody can write.
        journal.state.sysctls.push(SysctlState {
            name: "kernel/ostype".into(),
            before: "0".into(),
            set: "Linux".into(),
        });
        let restored = restore(Path::new("/proc/sys"), &mut journal);
        assert!(restored.is_err(), "{restored:?}");
        assert_eq!(journal.state.sysctls.len(), 1);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_kernel_without_the_compiler_is_fine() {
        let root = std::env::temp_dir().join(format!("dae-sysctl-none-{}", std::process::id()));
        let mut journal = Journal::open(&root).unwrap();
        enable_jit(&root, &mut journal).unwrap();
        assert!(journal.state.sysctls.is_empty());
        fs::remove_dir_all(root).unwrap();
    }
}
