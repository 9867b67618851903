# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Packages and index for apk 3, OpenWrt 25.12 and later. The numbers are those of its schemas."""

import hashlib
import posixpath
import struct

from feedlib import adb
from feedlib.recipe import folders_of, installed_files

# Fields of a package's information.
NAME, VERSION, HASHES, DESCRIPTION, ARCH, LICENSE, ORIGIN = range(1, 8)
INSTALLED_SIZE, FILE_SIZE, DEPENDS, PROVIDES = 0x0C, 0x0D, 0x0F, 0x10
# A dependency: any version (equal, less or greater), and the word that turns it round.
ANY_VERSION, CONFLICT = 7, 16
# Scripts.
POST_INSTALL, PRE_DEINSTALL, POST_DEINSTALL, POST_UPGRADE = 3, 4, 5, 7

# What OpenWrt's own packages begin with; default_postinst enables and starts services.
HEAD = """[ -s "${{IPKG_INSTROOT}}/lib/functions.sh" ] || exit 0
. "${{IPKG_INSTROOT}}/lib/functions.sh"
export root="${{IPKG_INSTROOT}}"
export pkgname="{name}"
"""
NO_SCRIPT = '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
SHELL = "#!/bin/sh\n"


def scripts(recipe):
    """{number: text}. apk has one of its own for an upgrade, in which nothing is stopped first."""
    head = HEAD.format(name=recipe.name)
    after = NO_SCRIPT + head + "default_postinst\n" + recipe.block("postinst").removeprefix(SHELL)
    return {
        POST_INSTALL: SHELL + after,
        PRE_DEINSTALL: SHELL + head + "default_prerm\n",
        POST_DEINSTALL: recipe.block("postrm"),
        POST_UPGRADE: SHELL + "export PKG_UPGRADE=1\n" + after,
    }


def with_lists(recipe, files):
    """The files, and those in which default_postinst and sysupgrade look the package up."""
    place = f"lib/apk/packages/{recipe.name}"
    sums = "".join(f"{path} {hashlib.sha256(files[path.lstrip('/')][1]).hexdigest()}\n"
                   for path in recipe.conffiles)
    return {
        **files,
        f"{place}.list": (0o644, "".join(f"/{path}\n" for path in sorted(files)).encode()),
        f"{place}.conffiles": (0o644, "".join(f"{it}\n" for it in recipe.conffiles).encode()),
        f"{place}.conffiles_static": (0o644, sums.encode()),
    }


def names(tree, wanted):
    """An array of dependencies, each a name and how its version is to match."""
    return tree.array(
        tree.fields({1: tree.text(name), **({3: tree.number(match)} if match else {})})
        for name, match in sorted(wanted))


def information(tree, recipe, architecture, size, more):
    """The object that a package and an index share."""
    wanted = [(name, None) for name in recipe.depends]
    wanted += [(name, ANY_VERSION | CONFLICT) for name in recipe.conflicts]
    if recipe.provides:
        provided = [(name, None) for name in recipe.provides]
        more = {PROVIDES: names(tree, provided), **more}
    return tree.fields({
        NAME: tree.text(recipe.name),
        VERSION: tree.text(recipe.version),
        DESCRIPTION: tree.text(recipe.description),
        ARCH: tree.text(architecture),
        LICENSE: tree.text(recipe.license),
        ORIGIN: tree.text("dae"),
        INSTALLED_SIZE: tree.number(size),
        DEPENDS: names(tree, wanted),
        **more,
    })


def access(tree, mode):
    """An access list: root's."""
    return tree.fields({1: tree.number(mode), 2: tree.text("root"), 3: tree.text("root")})


def contents(tree, files, time):
    """The array of folders with their files, and the data blocks."""
    folders, data = [], []
    # The root's name is empty.
    for at, folder in enumerate(sorted({"" if it == "." else it for it in folders_of(files)}), 1):
        inside = sorted(path for path in files if posixpath.dirname(path) == folder)
        rows = []
        for number, path in enumerate(inside, 1):
            mode, content = files[path]
            rows.append(tree.fields({
                1: tree.text(posixpath.basename(path)),
                2: access(tree, mode),
                3: tree.number(len(content)),
                4: tree.number(time),
                5: tree.blob(hashlib.sha256(content).digest()),
            }))
            if content:
                data.append(struct.pack("<II", at, number) + content)
        folders.append(tree.fields({
            1: tree.text(folder), 2: access(tree, 0o755), 3: tree.array(rows)}))
    return tree.array(folders), data


def build(recipe, architecture, binary, key):
    """The package's bytes, and its entry for `index`."""
    files = with_lists(recipe, installed_files(binary))
    size = sum(len(content) for _, content in files.values())
    tree = adb.Tree()
    # The package's identity is the digest of the tree in which this is all zero.
    hole = tree.blob(bytes(20), shared=False)
    paths, data = contents(tree, files, recipe.time)
    texts = scripts(recipe)
    root = tree.fields({
        1: information(tree, recipe, architecture, size, {HASHES: hole}),
        2: paths,
        3: tree.fields({at: tree.text(text) for at, text in texts.items()}),
    })
    blob = bytearray(tree.finish(root))
    start = (hole & 0x0FFFFFFF) + 1
    blob[start:start + 20] = hashlib.sha256(blob).digest()[:20]
    package = adb.container(adb.PACKAGE, bytes(blob), key, data)
    return package, (recipe, architecture, size, hashlib.sha256(blob).digest(), len(package))


def index(entries, key):
    """packages.adb of a feed."""
    tree = adb.Tree()
    packages = [information(tree, recipe, architecture, size, {
        HASHES: tree.blob(digest), FILE_SIZE: tree.number(length)})
        for recipe, architecture, size, digest, length in entries]
    return adb.container(adb.INDEX, tree.finish(tree.fields({2: tree.array(packages)})), key)
