# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where the project is, and where build tools that are no
# Debian packages live. That folder is outside the work tree, so that a clean clone does not
# fetch 150 MB again; deleting it is harmless.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/dae-build

# The C compiler and linker for foreign targets, and cargo's front end for it (PyPI).
zig_version=0.15.2
zigbuild_version=0.24.0
zig_home=$tools/zig-$zig_version-zigbuild-$zigbuild_version

# Client and server of QUIC for the lab (PyPI).
aioquic_version=1.7.2
aioquic_home=$tools/aioquic-$aioquic_version

# Front end of the fuzz targets (crates.io).
fuzz_version=0.13.1
fuzz_home=$tools/cargo-fuzz-$fuzz_version

say() { printf '%s\n' "$*"; }
fail() {
	printf '%s: %s\n' "${0#"$root"/}" "$*" >&2
	exit 1
}

# Release of the Rust compiler, such as 1.95.0.
rust_release() { rustc -vV | sed -n 's/^release: //p'; }

# Folder with the source of the standard library: the toolchain's own if it has one, else
# the place where scripts/packages unpacks it.
rust_library() {
	local own
	own=$(rustc --print sysroot)/lib/rustlib/src/rust/library
	if [ -e "$own/Cargo.lock" ]; then
		say "$own"
	else
		say "$tools/rust-src-$(rust_release)/library"
	fi
}
