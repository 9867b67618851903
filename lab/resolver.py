"""A resolver of the lab's internet, in front of unbound: remembers who asked what, and how.

It answers `whoami.example TXT` itself with its own name, so that a client can tell who
answered, and loses every query for `lossy.example` that comes over UDP.
"""

import collections
import socket
import struct

from lab import home, net
from lab.servers import accept_forever, in_background

WHOAMI = "whoami.example"
LOSSY = "lossy.example"

Query = collections.namedtuple("Query", "transport caller name")


class Resolver:
    """UDP and TCP port 53 on the given addresses."""

    def __init__(self, undo, label, addresses):
        self.label = label
        self.queries = []
        self.mute_tcp = False  # broken on purpose: no answers over TCP
        for address in addresses:
            datagrams = net.listener(home.INTERNET, socket.SOCK_DGRAM, address, 53)
            streams = net.listener(home.INTERNET, socket.SOCK_STREAM, address, 53)
            undo.add("resolver", datagrams.close)
            undo.add("resolver", streams.close)
            in_background(self._serve_datagrams, datagrams)
            in_background(accept_forever, streams, self._serve_stream)

    def asked(self, name):
        """Transports over which this name was asked for, in order."""
        return [query.transport for query in self.queries if query.name == name.lower()]

    def _serve_datagrams(self, datagrams):
        while True:
            try:
                query, caller = datagrams.recvfrom(4096)
            except OSError:
                return
            answer = self._answer("udp", caller, query)
            if answer:
                datagrams.sendto(answer, caller)

    def _serve_stream(self, stream, caller):
        while not self.mute_tcp:
            query = read_framed(stream)
            answer = self._answer("tcp", caller, query)
            stream.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, transport, caller, query):
        name, end = question(query)
        self.queries.append(Query(transport, caller[0], name))
        if name == LOSSY and transport == "udp":
            return None
        if name == WHOAMI:
            return _text_answer(query, end, self.label)
        return _ask_unbound(transport, query)


def question(message):
    """The name asked for, in lower case, and where the question ends."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]])
        at += 1 + message[at]
    return b".".join(labels).decode("ascii", "replace").lower(), at + 5


def read_framed(stream):
    """One DNS message from a TCP stream (RFC 1035, 4.2.2)."""
    (length,) = struct.unpack("!H", _read(stream, 2))
    return _read(stream, length)


def _read(stream, length):
    data = b""
    while len(data) < length:
        more = stream.recv(length - len(data))
        if not more:
            raise ConnectionError("the stream ended")
        data += more
    return data


def _text_answer(query, end, text):
    head = query[:2] + struct.pack("!5H", 0x8580, 1, 1, 0, 0)
    record = struct.pack("!HHHIHB", 0xC00C, 16, 1, 0, len(text) + 1, len(text))
    return head + query[12:end] + record + text.encode()


def _ask_unbound(transport, query):
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with net.open_socket(home.INTERNET, socket.AF_INET, kind) as asking:
        asking.settimeout(2)
        asking.connect(("127.0.0.1", home.UNBOUND_PORT))
        if transport == "udp":
            asking.send(query)
            return asking.recv(65535)
        asking.sendall(struct.pack("!H", len(query)) + query)
        return read_framed(asking)
