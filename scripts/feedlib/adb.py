# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The container of apk 3, called adb: a tree of values, its signature and the files' contents.

apk-v3(5) describes it. A value is a 32-bit word: four bits of type, and 28 bits that are a small
number or the place of something longer. Everything is little endian.
"""

import hashlib
import struct
import subprocess
import tempfile
import zlib

from feedlib.recipe import Failure

PACKAGE, INDEX = b"pckg", b"indx"

NULL = 0
INT, INT_32, INT_64 = 0x1, 0x2, 0x3
BLOB_8, BLOB_16, BLOB_32 = 0x8, 0x9, 0xA
ARRAY, OBJECT = 0xD, 0xE
BLOCK_ADB, BLOCK_SIGNATURE, BLOCK_DATA = 0, 1, 2
SHA512 = 4


class Tree:
    """Values, one after the other; equal ones are stored once."""

    def __init__(self):
        self.bytes = bytearray(8)
        self.known = {}

    def store(self, kind, content, alignment, shared=True):
        """Stores what is longer than 28 bits; its word."""
        place = self.known.get((kind, content)) if shared else None
        if place is None:
            self.bytes += bytes(-len(self.bytes) % alignment)
            place = len(self.bytes)
            self.bytes += content
            if shared:
                self.known[kind, content] = place
        return kind << 28 | place

    def number(self, value):
        """A number."""
        if value < 1 << 28:
            return INT << 28 | value
        if value < 1 << 32:
            return self.store(INT_32, struct.pack("<I", value), 4)
        return self.store(INT_64, struct.pack("<Q", value), 4)

    def blob(self, content, shared=True):
        """Bytes; none at all are a null."""
        size = len(content)
        if not size:
            return NULL
        for kind, form, alignment in (BLOB_8, "<B", 1), (BLOB_16, "<H", 2), (BLOB_32, "<I", 4):
            if size < 1 << 8 * alignment:
                return self.store(kind, struct.pack(form, size) + content, alignment, shared)
        raise Failure("a value is too long for the format")

    def text(self, words):
        """A string."""
        return self.blob(words.encode())

    def slots(self, kind, values):
        """An array or an object; nulls at its end are left out, and an empty one is a null."""
        while values and values[-1] == NULL:
            values = values[:-1]
        if not values:
            return NULL
        return self.store(kind, struct.pack(f"<{len(values) + 1}I", len(values) + 1, *values), 4)

    def array(self, values):
        """Values of one sort."""
        return self.slots(ARRAY, list(values))

    def fields(self, values):
        """An object: {number of the field: value}."""
        return self.slots(OBJECT, [values.get(at, NULL) for at in range(1, max(values) + 1)])

    def finish(self, root):
        """All of it, with the root in its head."""
        self.bytes[4:8] = struct.pack("<I", root)
        return bytes(self.bytes)


def block(kind, content):
    """A block of the file, padded to eight bytes."""
    size = len(content) + 4
    return struct.pack("<I", kind << 30 | size) + content + bytes(-size % 8)


def container(schema, tree, key, data=()):
    """The file: tree, signature if there is a key, data; compressed."""
    parts = [b"ADB." + schema, block(BLOCK_ADB, tree)]
    if key:
        parts.append(block(BLOCK_SIGNATURE, signature(schema, tree, key)))
    parts += [block(BLOCK_DATA, content) for content in data]
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"ADBd" + pack.compress(b"".join(parts)) + pack.flush()


def signature(schema, tree, key):
    """An ECDSA signature with SHA-512 of a P-256 key in a PEM file, and the key's identity."""
    # The point is the end of the public key's DER form.
    point = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")[-65:]
    head = bytes([0, SHA512]) + hashlib.sha512(point).digest()[:16]
    with tempfile.NamedTemporaryFile() as file:
        file.write(schema + head + hashlib.sha512(tree).digest())
        file.flush()
        return head + openssl("dgst", "-sha512", "-sign", key, file.name)


def openssl(*words):
    """What openssl prints."""
    try:
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise Failure("openssl is missing: run scripts/packages openwrt") from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"openssl {words[0]}: {error.stderr.decode().strip()}") from None
