# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What a guest is made of: a kernel with few modules, and a userland of three programs."""

import lzma
import os
import pathlib
import re
import shutil
import subprocess

from kernels import debian
from kernels.initramfs import Initramfs

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

MODULES = ("veth", "sch_ingress", "cls_bpf")
PROGRAMS = ("bin/ip", "sbin/tc")
USERLAND = ("busybox-static", "iproute2", "libbpf1", "libbsd0", "libc6", "libcap2", "libelf1",
            "libmd0", "libmnl0", "libxtables12", "zlib1g")


def kernel(guest):
    """(image, modules in the order they are loaded in) of a guest."""
    folder = debian.unpacked(guest.name, guest.suite, guest.architecture, [guest.kernel],
                             _keep_kernel, MODULES)
    return folder / "vmlinuz", sorted((folder / "modules").iterdir())


def initramfs(guest, modules):
    """Its file system, packed."""
    userland = debian.unpacked(f"userland-{guest.architecture}", "bookworm", guest.architecture,
                               USERLAND, _keep_userland, PROGRAMS)
    system = Initramfs()
    system.folder(userland, "")
    for module in modules:
        system.file(f"modules/{module.name}", module.read_bytes(), 0o644)
    packages = sorted((ROOT / "target/feed").glob(f"dae_*_{guest.package}.ipk"))
    if len(packages) != 1:
        raise debian.Unavailable(f"target/feed has no package for {guest.package}: run "
                                 f"cross/build {guest.target}, then scripts/feed --out target/feed")
    system.package(packages[0])
    peer = ROOT / "target/peer" / guest.target / "peer"
    if not peer.is_file():
        raise debian.Unavailable(f"no {peer}: run cross/build --peer {guest.target}")
    system.file("usr/bin/peer", peer.read_bytes())
    system.folder(HERE / "files", "kernels")
    system.file("init", (HERE / "files/init").read_bytes())
    return system.archive()


def _keep_kernel(source, target):
    """The image, and the modules that are needed, numbered."""
    image = next(source.glob("boot/vmlinuz-*"))
    version = image.name.removeprefix("vmlinuz-")
    shutil.copy(image, target / "vmlinuz")
    if not (source / "lib").exists():
        (source / "lib").symlink_to("usr/lib")
    # Where they are is not on everybody's path.
    tools = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(["depmod", "-b", source, version], check=True, env=tools)
    (target / "modules").mkdir()
    wanted = []
    for module in MODULES:
        shown = subprocess.run(["modprobe", "-d", source, "-S", version, "--show-depends", module],
                               text=True, capture_output=True, check=True, env=tools).stdout
        paths = [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
        wanted += [path for path in paths if path not in wanted]
    for number, path in enumerate(wanted):
        path = pathlib.Path(path)
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        name = path.name.removesuffix(".xz")
        (target / f"modules/{number:02}-{name}").write_bytes(content)


def _keep_userland(source, target):
    """busybox, ip and tc, with the libraries that these are linked to."""
    (target / "bin").mkdir()
    (target / "usr/sbin").mkdir(parents=True)
    (target / "lib").mkdir()
    shutil.copy(source / "bin/busybox", target / "bin/busybox")
    libraries = {file.name: file for file in source.rglob("*.so*")}
    wanted = []
    for program in PROGRAMS:
        file = source / program
        shutil.copy(file.resolve(), target / "usr/sbin" / file.name)
        wanted += _needs(file)
        loader = _loader(file)
        (target / loader).parent.mkdir(exist_ok=True)
        shutil.copy(libraries[pathlib.PurePath(loader).name], target / loader)
    while wanted:
        name = wanted.pop()
        if not (target / "lib" / name).exists():
            if name not in libraries:
                raise debian.Unavailable(f"no package of kernels/parts.py has {name}")
            shutil.copy(libraries[name], target / "lib" / name)
            wanted += _needs(libraries[name])


def _needs(file):
    """Names of the libraries a program is linked to."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", _readelf("-d", file))


def _loader(file):
    """Path of what loads a program, without the leading slash."""
    return re.search(r"program interpreter: /(.*)\]", _readelf("-l", file))[1]


def _readelf(option, file):
    return subprocess.run(["llvm-readelf", option, file], text=True, capture_output=True,
                          check=True).stdout
