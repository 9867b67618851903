# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Reads what matters of an ELF file: whom it is for, and whether it needs anything."""

import struct

from reading.claims import check, same

ELF32, ELF64, MIPS, X86_64, AARCH64 = 1, 2, 8, 62, 183


def check_elf(what, content, elf_class, machine):
    """For the right processor, little endian, static and stripped."""
    same(f"{what}: ELF", content[:7], b"\x7fELF" + bytes([elf_class, 1, 1]))
    same(f"{what}: machine", struct.unpack_from("<H", content, 18)[0], machine)
    wide = elf_class == ELF64
    offsets, counts = ("<QQ", 32), ("<HHHH", 54)
    if not wide:
        offsets, counts = ("<II", 28), ("<HHHH", 42)
    program_at, section_at = struct.unpack_from(*offsets[:1], content, offsets[1])
    program_size, programs, section_size, sections = struct.unpack_from(
        counts[0], content, counts[1])
    segments = [struct.unpack_from("<I", content, program_at + at * program_size)[0]
                for at in range(programs)]
    check(3 not in segments, f"{what}: needs an interpreter")
    kinds = [struct.unpack_from("<I", content, section_at + at * section_size + 4)[0]
             for at in range(sections)]
    check(2 not in kinds, f"{what}: has symbols")
    if machine == MIPS:
        abiflags = [at for at in range(sections) if kinds[at] == 0x7000002A]
        check(bool(abiflags), f"{what}: no ABI flags")
        for at in abiflags:
            place = struct.unpack_from("<I", content, section_at + at * section_size + 16)[0]
            same(f"{what}: floating point (3 is soft)", content[place + 7], 3)
