# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What goes into a package: openwrt/Makefile, openwrt/files, and a binary of dist/."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# The package of each binary, and the architecture strings it serves. They differ in tuning only:
# mipsel is built for the 24kc, which the 74kc understands, aarch64 for ARMv8.0.
BINARIES = {
    "aarch64": ("dae", ("aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_generic")),
    "mipsel": ("dae", ("mipsel_24kc", "mipsel_74kc")),
    "x86_64": ("dae", ("x86_64",)),
    "mipsel-mini": ("dae-mini", ("mipsel_24kc", "mipsel_74kc")),
}


class Failure(Exception):
    """What keeps packages from being made."""


class Recipe:
    """What openwrt/Makefile and Cargo.toml say of a package, and the time of its contents."""

    def __init__(self, name):
        self.name = name
        self.text = (ROOT / "openwrt/Makefile").read_text(encoding="utf-8")
        cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        number = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)[1]
        self.version = f"{number}-r{self.setting('PKG_RELEASE')}"
        self.license = self.setting("PKG_LICENSE")
        self.section = self.setting("SECTION")
        depends = [*self.setting("DEPENDS").split(), *self.own("DEPENDS+").split()]
        self.depends = [word.lstrip("+=") for word in depends if "+" in word]
        self.conflicts = self.own("CONFLICTS:").split()
        self.provides = self.own("PROVIDES:").split()
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

    def own(self, setting):
        """The value of a setting among those of the package alone; empty if it has none."""
        found = re.search(rf"^\s*{re.escape(setting)}=(.*)$", self.defined(self.name),
                          re.MULTILINE)
        return found[1].strip() if found else ""

    def block(self, name):
        """The text of Package/PACKAGE/NAME, as the shell would see it."""
        same = f"Package/{self.name}/{name}=$(Package/dae/{name})\n"
        owner = "dae" if same in self.text else self.name
        return self.defined(f"{owner}/{name}").replace("$$", "$")

    def defined(self, name):
        """The text between define Package/NAME and endef."""
        found = re.search(rf"^define Package/{name}\n(.*?)^endef$", self.text,
                          re.MULTILINE | re.DOTALL)
        if not found:
            raise Failure(f"openwrt/Makefile has no Package/{name}")
        return found[1]


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
