# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Packages and index for opkg: gzip and tar, as OpenWrt's own tools write them."""

import gzip
import hashlib
import io
import subprocess
import tarfile

from feedlib.recipe import Failure, folders_of, installed_files

# What OpenWrt's own packages begin and end with; default_postinst enables and starts services.
HOOK = """#!/bin/sh
{guard}[ -s "${{IPKG_INSTROOT}}/lib/functions.sh" ] || exit 0
. "${{IPKG_INSTROOT}}/lib/functions.sh"
default_{name} "$0" "$@"
"""
NO_SCRIPT = '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'


def tar(members, time):
    """A tar archive of {path: (mode, bytes)} with the folders above them; owner 0:0."""
    folders = folders_of(members)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted({*members, *folders}):
            info = tarfile.TarInfo("." if path == "." else f"./{path}")
            info.mtime = time
            if path in folders:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.mode, content = members[path]
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pack(content):
    """gzip without a name and a time."""
    return gzip.compress(content, 9, mtime=0)


def plain(members, time):
    """A tar archive of {path: bytes} in the order given, without folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, content in members.items():
            info = tarfile.TarInfo(f"./{path}")
            info.mtime, info.size = time, len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def control(recipe, architecture, size):
    """The control file."""
    fields = {
        "Package": recipe.name,
        "Version": recipe.version,
        "Depends": ", ".join(recipe.depends),
        "Conflicts": ", ".join(recipe.conflicts),
        "Provides": ", ".join(recipe.provides),
        "Source": "openwrt",
        "SourceName": "dae",
        "License": recipe.license,
        "Section": recipe.section,
        "SourceDateEpoch": str(recipe.time),
        "Architecture": architecture,
        "Installed-Size": str(size),
        "Description": recipe.description,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def build(recipe, architecture, binary):
    """The package: its control file, and all of its bytes."""
    time = recipe.time
    data = tar(installed_files(binary), time)
    about = control(recipe, architecture, len(data))
    scripts = {
        "postinst": HOOK.format(name="postinst", guard=NO_SCRIPT),
        "postinst-pkg": recipe.block("postinst"),
        "prerm": HOOK.format(name="prerm", guard=""),
        "postrm": recipe.block("postrm"),
    }
    inside = {name: (0o755, text.encode()) for name, text in scripts.items()}
    inside["control"] = (0o644, about.encode())
    inside["conffiles"] = (0o644, "".join(f"{path}\n" for path in recipe.conffiles).encode())
    package = plain({
        "debian-binary": b"2.0\n",
        "data.tar.gz": pack(data),
        "control.tar.gz": pack(tar(inside, time)),
    }, time)
    return about, pack(package)


def entry(about, name, content):
    """A package's part of the index."""
    where = (f"Filename: {name}\nSize: {len(content)}\n"
             f"SHA256sum: {hashlib.sha256(content).hexdigest()}\n")
    return about.replace("Description:", f"{where}Description:")


def index(entries):
    """The text of Packages."""
    return "\n".join(entries).encode() + b"\n"


def sign(index, key):
    """INDEX.sig in the form of signify, which usign and opkg read."""
    tool = "signify-openbsd"
    try:
        subprocess.run([tool, "-S", "-s", key, "-m", index, "-x", f"{index}.sig"], check=True)
    except FileNotFoundError:
        raise Failure(f"{tool} is missing: run scripts/packages openwrt") from None
    except subprocess.CalledProcessError:
        raise Failure(f"{tool} could not sign with {key}") from None
