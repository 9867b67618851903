"""DNS messages as bytes: the few that the fault lab asks, answers and breaks. Pure."""

import collections
import hashlib
import ipaddress
import struct

A, TXT, AAAA, OPT = 1, 16, 28, 41
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
PEER = "203.0.113.10"
SERVER_NAME, SERVER_ADDRESS = "dns.lab.example", "198.51.100.53"  # of the upstreams themselves
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
EDE = 15  # option code, RFC 8914
PADDING = 12  # option code, RFC 7830

Message = collections.namedtuple("Message", "number rcode truncated recursion name kind addresses "
                                            "ttl ede padding edns")


def query(name, kind=A, number=0, edns=True):
    """A query with RD; with EDNS it takes 1,232 bytes."""
    head = struct.pack("!6H", number, 0x0100, 1, 0, 0, int(edns))
    return head + encode(name) + struct.pack("!HH", kind, 1) + (opt() if edns else b"")


def opt(options=b""):
    """An OPT record without flags."""
    return struct.pack("!BHHIH", 0, OPT, 1232, 0, len(options)) + options


def encode(name):
    """A name as labels."""
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def address_of(name):
    """The address that a good answer for this name has: a swapped answer is noticed. Real
    programs have one for all names, below `peer-*.example`."""
    if ".peer-" in name:
        return PEER
    if name == SERVER_NAME:
        return SERVER_ADDRESS
    return f"203.0.113.{hashlib.sha256(name.lower().encode()).digest()[0]}"


def question(message):
    """(name in lower case, type, where the question ends); ValueError if it is none."""
    name, at = _name(message, 12)
    (kind,) = struct.unpack_from("!H", message, at)
    return name.lower(), kind, at + 4


def answer(asked, rcode=NOERROR, ttl=300, truncated=False, records=1):
    """The answer to a query: the address of its name, or only a code."""
    name, kind, end = question(asked)
    count = records if rcode == NOERROR and kind == A and not truncated else 0
    flags = 0x8180 | rcode | (0x0200 if truncated else 0)
    with_edns = asked[10:12] != b"\0\0"
    head = asked[:2] + struct.pack("!5H", flags, 1, count, 0, int(with_edns))
    record = struct.pack("!HHHIH", 0xC00C, A, 1, ttl, 4) + ipaddress.ip_address(
        address_of(name)).packed
    return head + asked[12:end] + record * count + (opt() if with_edns else b"")


def parse(message):
    """What a client wants to know of an answer; ValueError if it is broken."""
    try:
        return _parse(message)
    except (struct.error, IndexError) as error:
        raise ValueError(f"broken answer {message.hex()}") from error


def _parse(message):
    number, flags, questions, answers, authorities, additional = struct.unpack_from("!6H", message)
    name, kind, at = question(message) if questions else ("", 0, 12)
    addresses, ttl, ede, padding, edns = [], None, [], None, False
    for index in range(answers + authorities + additional):
        _owner, at = _name(message, at)
        record, _class, seconds, length = struct.unpack_from("!HHIH", message, at)
        at += 10
        data = message[at:at + length]
        at += length
        if record == OPT:
            edns = True
            ede, padding = _options(data)
        elif index < answers:
            ttl = seconds if ttl is None else min(ttl, seconds)
            if record in (A, AAAA):
                addresses.append(str(ipaddress.ip_address(data)))
    return Message(number, flags & 15, bool(flags & 0x0200), bool(flags & 0x0080), name, kind,
                   addresses, ttl, ede, padding, edns)


def _options(data):
    """(codes of extended errors, bytes of padding or None)."""
    ede, padding, at = [], None, 0
    while at < len(data):
        code, length = struct.unpack_from("!HH", data, at)
        if code == EDE:
            ede.append(struct.unpack_from("!H", data, at + 4)[0])
        elif code == PADDING:
            padding = length
        at += 4 + length
    return ede, padding


def _name(message, at):
    """(name, where the record goes on)."""
    labels, end = [], None
    for _ in range(64):
        length = message[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | message[at + 1]
        elif length:
            labels.append(message[at + 1:at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
        else:
            return ".".join(labels), end or at + 1
    raise ValueError("a name without end")
