# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What goes into a package: openwrt/Makefile, openwrt/files, and a binary of dist/."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# The architecture strings that each binary serves. They differ in tuning only: mipsel is built
# for the 24kc, which the 74kc understands, aarch64 for ARMv8.0.
ARCHITECTURES = {
    "aarch64": ("aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_generic"),
    "mipsel": ("mipsel_24kc", "mipsel_74kc"),
    "x86_64": ("x86_64",),
}


class Failure(Exception):
    """What keeps packages from being made."""


class Recipe:
    """What openwrt/Makefile and Cargo.toml say of the package, and the time of its contents."""

    def __init__(self):
        self.text = (ROOT / "openwrt/Makefile").read_text(encoding="utf-8")
        cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        number = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)[1]
        self.version = f"{number}-r{self.setting('PKG_RELEASE')}"
        self.license = self.setting("PKG_LICENSE")
        self.section = self.setting("SECTION")
        depends = self.setting("DEPENDS").split()
        self.depends = [word[1:] for word in depends if word.startswith("+")]
        self.conflicts = self.setting("CONFLICTS").split()
        self.conffiles = self.block("conffiles").split()
        lines = (line.strip() for line in self.block("description").splitlines())
        self.description = " ".join(lines)
        self.time = epoch()

    def setting(self, name):
        """The value of NAME:=value."""
        found = re.search(rf"^\s*{name}:=(.*)$", self.text, re.MULTILINE)
        if not found:
            raise Failure(f"openwrt/Makefile has no {name}")
        return found[1].strip()

    def block(self, name):
        """The text between define Package/dae/NAME and endef, as the shell would see it."""
        found = re.search(rf"^define Package/dae/{name}\n(.*?)^endef$", self.text,
                          re.MULTILINE | re.DOTALL)
        if not found:
            raise Failure(f"openwrt/Makefile has no Package/dae/{name}")
        return found[1].replace("$$", "$")


def epoch():
    """SOURCE_DATE_EPOCH, or the time of the last commit, in seconds."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said:
        return int(said)
    commit = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True,
                            capture_output=True, check=False)
    if commit.returncode:
        raise Failure("no commit to take the time from: set SOURCE_DATE_EPOCH")
    return int(commit.stdout)


def mode_of(path):
    """The mode of an installed file, as openwrt/Makefile has it: INSTALL_CONF, _BIN, _DATA."""
    if path.startswith("etc/config/"):
        return 0o600
    if path.startswith(("etc/init.d/", "etc/uci-defaults/", "usr/bin/")):
        return 0o755
    return 0o644


def installed_files(binary):
    """{path: (mode, bytes)} of what a package installs."""
    base = ROOT / "openwrt/files"
    paths = {str(file.relative_to(base)): file for file in base.rglob("*") if file.is_file()}
    paths["usr/bin/dae"] = binary
    return {path: (mode_of(path), file.read_bytes()) for path, file in paths.items()}


def folders_of(paths):
    """All folders above these paths, the root of them as '.'."""
    return {str(parent) for path in paths for parent in pathlib.PurePosixPath(path).parents}
