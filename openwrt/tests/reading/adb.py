# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Reads apk: the tree of values as Python's, the signature, and the contents of the files."""

import hashlib
import struct
import subprocess
import zlib

from reading.claims import check, same


def value(tree, word):
    """The value of a word: None, a number, bytes, or {slot: value}, slots from 1."""
    kind, low = word >> 28, word & 0x0FFFFFFF
    if kind == 0:
        check(low == 0, "adb: a special value that is no null")
        return None
    if kind == 1:
        return low
    if kind in (2, 3):
        return int.from_bytes(tree[low:low + (4 if kind == 2 else 8)], "little")
    if kind in (8, 9, 10):
        wide = 1 << kind - 8
        check(low % wide == 0, "adb: a length that is not aligned")
        size = int.from_bytes(tree[low:low + wide], "little")
        check(low + wide + size <= len(tree), "adb: a value beyond the end")
        return bytes(tree[low + wide:low + wide + size])
    check(kind in (13, 14) and low % 4 == 0, "adb: no array or object")
    count, = struct.unpack_from("<I", tree, low)
    words = struct.unpack_from(f"<{count - 1}I", tree, low + 4)
    return {at: value(tree, word) for at, word in enumerate(words, 1) if word}


def blocks(package, schema):
    """[(kind, content)] of a file."""
    same("adb: compression", package[:4], b"ADBd")
    content = zlib.decompress(package[4:], -15)
    same("adb: schema", content[:8], b"ADB." + schema)
    found, at = [], 8
    while at < len(content):
        word, = struct.unpack_from("<I", content, at)
        size = word & 0x3FFFFFFF
        found.append((word >> 30, content[at + 4:at + size]))
        check(not content[at + size:at + (size + 7) // 8 * 8].strip(b"\0"), "adb: padding")
        at += (size + 7) // 8 * 8
    return found


def unpack(package, schema, public, folder):
    """The root, the bytes of the tree, and the data blocks of a file with a good signature."""
    found = blocks(package, schema)
    same("adb: order of the blocks", [kind for kind, _ in found], sorted(kind for kind, _ in found))
    tree = found[0][1]
    same("adb: version", tree[:4], bytes(4))
    signatures = [content for kind, content in found if kind == 1]
    same("adb: signatures", len(signatures), 1)
    for content in signatures:
        check(good_signature(content, schema, tree, public, folder), "adb: signature")
        changed = tree[:-1] + bytes([tree[-1] ^ 1])
        check(not good_signature(content, schema, changed, public, folder), "adb: any signature")
    root, = struct.unpack_from("<I", tree, 4)
    return value(tree, root), tree, [content for kind, content in found if kind == 2]


def good_signature(content, schema, tree, public, folder):
    """Whether openssl finds the signature of this key good."""
    head, proof = content[:18], content[18:]
    signed, signature = folder / "signed", folder / "signature"
    signed.write_bytes(schema + head + hashlib.sha512(tree).digest())
    signature.write_bytes(proof)
    done = subprocess.run(["openssl", "dgst", "-sha512", "-verify", public, "-signature",
                           signature, signed], capture_output=True, check=False)
    return head[:2] == b"\0\4" and done.returncode == 0


def files(root, data):
    """{path: (mode, time, bytes)} and {folder: mode}; digests and sizes hold."""
    contents = {struct.unpack_from("<II", block): block[8:] for block in data}
    found, folders = {}, {}
    names = [folder.get(1, b"") for folder in root[2].values()]
    same("adb: order of folders", names, sorted(names))
    for at, folder in root[2].items():
        path = folder.get(1, b"").decode()
        check_access(path, folder[2])
        folders[path] = folder[2][1]
        inside = folder.get(3) or {}
        names = [entry[1] for entry in inside.values()]
        same(f"adb, {path}: order", names, sorted(names))
        for number, entry in inside.items():
            place = f"{path}/{entry[1].decode()}"
            content = contents.pop((at, number), b"")
            check_access(place, entry[2])
            same(f"adb, {place}: size", entry[3], len(content))
            same(f"adb, {place}: digest", entry[5], hashlib.sha256(content).digest())
            found[place] = (entry[2][1], entry[4], content)
    same("adb: data of no file", sorted(contents), [])
    return found, folders


def check_access(place, access):
    """Of root, and nothing else."""
    same(f"adb, {place}: owner", (access[2], access[3]), (b"root", b"root"))
    same(f"adb, {place}: fields of access", sorted(access), [1, 2, 3])
