"""The few verbs of bpf(2) that the lab needs, for programs on a device (TCX, kernel 6.6)."""

import ctypes
import os

TCX_INGRESS, TCX_EGRESS = 46, 47

_PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID = 8, 9, 13
_PROG_QUERY, _LINK_GET_FD_BY_ID, _LINK_DETACH = 16, 30, 34
_SYSCALL = {"x86_64": 321, "aarch64": 280}


class _Query(ctypes.Structure):
    """`query` of union bpf_attr (linux/bpf.h)."""

    _fields_ = [
        ("target_ifindex", ctypes.c_uint32), ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32), ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64), ("count", ctypes.c_uint32), ("pad", ctypes.c_uint32),
        ("prog_attach_flags", ctypes.c_uint64), ("link_ids", ctypes.c_uint64),
        ("link_attach_flags", ctypes.c_uint64), ("revision", ctypes.c_uint64),
    ]


class _Attach(ctypes.Structure):
    """The struct of BPF_PROG_ATTACH and BPF_PROG_DETACH."""

    _fields_ = [
        ("target_ifindex", ctypes.c_uint32), ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32), ("attach_flags", ctypes.c_uint32),
        ("replace_bpf_fd", ctypes.c_uint32), ("relative_fd", ctypes.c_uint32),
        ("expected_revision", ctypes.c_uint64),
    ]


class _Identifier(ctypes.Structure):
    """The first word of the structs that take one identifier or one file descriptor."""

    _fields_ = [("value", ctypes.c_uint32), ("next", ctypes.c_uint32), ("flags", ctypes.c_uint32)]


def _call(operation, attributes):
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALL[os.uname().machine]
    result = libc.syscall(number, operation, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({operation}): {os.strerror(ctypes.get_errno())}")
    return result


def programs(device_index, hook=TCX_INGRESS):
    """Pairs (program, link) of identifiers on a device of the current namespace."""
    ids, links = (ctypes.c_uint32 * 64)(), (ctypes.c_uint32 * 64)()
    query = _Query(target_ifindex=device_index, attach_type=hook, count=64,
                   prog_ids=ctypes.addressof(ids), link_ids=ctypes.addressof(links))
    try:
        _call(_PROG_QUERY, query)
    except OSError:  # a kernel before 6.6
        return []
    return list(zip(ids[:query.count], links[:query.count]))


def open_program(identifier):
    """A file descriptor of a program."""
    return _call(_PROG_GET_FD_BY_ID, _Identifier(identifier))


def attach(program, device_index):
    """Puts a program on a device, without a link."""
    _call(_PROG_ATTACH, _Attach(device_index, program, TCX_INGRESS))


def detach(program, device_index):
    """Takes it away."""
    _call(_PROG_DETACH, _Attach(device_index, program, TCX_INGRESS))


def detach_link(identifier):
    """Takes away what a link of somebody holds; the link stays, empty."""
    link = _call(_LINK_GET_FD_BY_ID, _Identifier(identifier))
    try:
        _call(_LINK_DETACH, _Identifier(link))
    finally:
        os.close(link)
