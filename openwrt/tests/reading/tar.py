# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Reads ipk: gzip around tar around gzip around tar."""

import gzip
import struct

from reading.claims import check, same


class Member:
    """One entry of a tar archive."""

    def __init__(self, header, content):
        text = [field.rstrip(b"\0 ").decode() for field in struct.unpack(
            "100s8s8s8s12s12s8s1s100s8s32s32s8s8s", header[:345])]
        self.name, mode, uid, gid, _, time, checksum, self.kind = text[:8]
        self.mode, self.uid, self.gid, self.time = (int(word, 8)
                                                    for word in (mode, uid, gid, time))
        self.user, self.group = text[10:12]
        self.content = content
        blank = header[:148] + b" " * 8 + header[156:]
        self.intact = int(checksum, 8) == sum(blank)


def members(archive):
    """The entries of a tar archive, in order."""
    found, at = [], 0
    while archive[at:at + 512].strip(b"\0"):
        header = archive[at:at + 512]
        size = int(header[124:136].rstrip(b"\0 "), 8)
        found.append(Member(header, archive[at + 512:at + 512 + size]))
        at += 512 + (size + 511) // 512 * 512
    check(len(archive) % 512 == 0 and not archive[at:].strip(b"\0"), "a tar archive ends in zeros")
    return found


def unpack(package):
    """The archives of a package: the outer one, data and control; gzip has no time and name."""
    archives = []
    outer = members(gzip.decompress(package))
    for packed in (package, outer[1].content, outer[2].content):
        check(packed[:4] == b"\x1f\x8b\x08\0" and packed[4:8] == b"\0" * 4,
              "gzip without name and time")
        archives.append(members(gzip.decompress(packed)))
    return archives


def check_members(what, archive, time):
    """What all archives have in common."""
    for member in archive:
        place = f"{what}, {member.name}"
        same(f"{place}: owner", (member.uid, member.gid), (0, 0))
        check({member.user, member.group} <= {"", "root"}, f"{place}: user or group named")
        same(f"{place}: time", member.time, time)
        check(member.intact, f"{place}: checksum of the header")
        check(member.kind in "05", f"{place}: type {member.kind}")
        if member.kind == "5":
            same(f"{place}: mode", member.mode, 0o755)
