# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Packages of other releases and architectures of Debian, unpacked and not installed.

apt gets a state of its own in a folder, so that this machine's sources, lists and packages
stay as they are. What has been unpacked is kept (see CACHE); deleting it is harmless.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Beside the other build tools that are no packages of this machine: see scripts/lib.sh.
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache",
                     "dae-build/kernels")


class Unavailable(Exception):
    """Debian does not have it, or cannot be reached."""


def mirror():
    """The mirror that this machine uses for its own release."""
    codename = ""
    with open("/etc/os-release", encoding="utf-8") as release:
        for line in release:
            if line.startswith("VERSION_CODENAME="):
                codename = line.split("=", 1)[1].strip().strip('"')
    text = _run("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)",
                "Created-By: Packages")
    for line in text.splitlines():
        release, _, address = line.partition(" ")
        if release in (codename, "stable"):
            return address
    raise Unavailable("no Debian mirror in apt's sources")


def unpacked(name, suite, architecture, packages, keep, what):
    """The folder CACHE/name-DIGEST, made of these packages unless it is there already.

    packages: names; "linux-image-X" stands for the image that it depends on.
    keep(source, target): takes what is wanted from the unpacked packages to the new folder:
    `what`, for the digest.
    """
    made_of = repr((suite, architecture, packages, what))
    target = CACHE / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"
    if target.is_dir():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    for outdated in (*CACHE.glob(f"{name}-" + "[0-9a-f]" * 8), *CACHE.glob(".new-*")):
        shutil.rmtree(outdated, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".new-") as work:
        work = pathlib.Path(work)
        apt = _private_apt(work, suite, architecture)
        wanted = [_image(apt, package) for package in packages]
        print(f"fetching {' '.join(wanted)} ({suite}, {architecture})", flush=True)
        _run("apt-get", *apt, "download", *wanted, folder=work)
        (work / "all").mkdir()
        for file in work.glob("*.deb"):
            _run("dpkg-deb", "-x", str(file), str(work / "all"))
            file.unlink()
        (work / "kept").mkdir()
        keep(work / "all", work / "kept")
        shutil.rmtree(target, ignore_errors=True)
        (work / "kept").rename(target)
    return target


def _private_apt(work, suite, architecture):
    """Options of apt with a state of its own in `work`, its lists fetched."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    sources = work / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING} arch={architecture}] {mirror()} {suite} main\n")
    options = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists", "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache", "APT::Sandbox::User": "root",
        "APT::Architecture": architecture, "APT::Architectures": architecture,
        "Acquire::Languages": "none", "Acquire::Retries": "3",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    words = ["-qq"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    _run("apt-get", *words, "update")
    return words


def _image(apt, package):
    """The package itself, or the kernel's image that a package of kernels stands for."""
    if not package.startswith("linux-image-"):
        return package
    for line in _run("apt-cache", *apt, "depends", "--important", package).splitlines():
        depends = line.split()
        if depends[:1] == ["Depends:"] and depends[-1].startswith("linux-image-"):
            return depends[-1]
    return package


def _run(*words, folder=None):
    done = subprocess.run(words, cwd=folder, text=True, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Unavailable(f"{' '.join(words[:1] + words[-2:])}: {done.stderr.strip()[-500:]}")
    return done.stdout
