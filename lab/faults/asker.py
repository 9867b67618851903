"""Clients of the fault lab: many queries, each with the time until its answer. Sockets."""

import collections
import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time

from lab import home, net
from lab.faults import message
from lab.tour import Wrong

SERVER = (home.lan(4, home.ROUTER_LAN), 53)
CROWD = [f"192.168.77.{number}" for number in range(100, 200)]  # more machines at home
DESKS = [f"192.168.77.{number}" for number in range(60, 90)]  # one for each claim's thread

_free_desks = itertools.cycle(DESKS)
_here = threading.local()

# `at` and `sent` are time.monotonic(); `reply` is None when nothing came in time.
Told = collections.namedtuple("Told", "name sent ms reply")


def desk():
    """The address of this thread's claim: claims tried together are different clients."""
    if not hasattr(_here, "desk"):
        _here.desk = next(_free_desks)
    return _here.desk


def _open(kind):
    """A socket at home, with a port for itself: SO_REUSEADDR would let two have the same."""
    with net.inside(home.CLIENT):
        return socket.socket(socket.AF_INET, kind)


def udp(source=None):
    """A socket of a client, towards the router."""
    opened = _open(socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.bind((source or desk(), 0))
    opened.connect(SERVER)
    return opened


def tcp(source=None, wait=3):
    """A connection of a client to the router's port 53."""
    opened = _open(socket.SOCK_STREAM)
    opened.settimeout(wait)
    try:
        opened.bind((source or desk(), 0))
        opened.connect(SERVER)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        opened.close()
        raise
    return opened


def ask(name, wait=6, source=None, over="udp", edns=True):
    """One query; what came."""
    asker = Volley([name], sources=[source], wait=wait, edns=edns)
    return (asker.over_udp() if over == "udp" else asker.over_tcp())[0]


class Volley:
    """Many queries, spread evenly over some seconds, from some addresses."""

    def __init__(self, names, seconds=0.0, sources=(None,), wait=6, edns=True):
        self.names = names
        self.sources = sources
        self.wait = wait
        self.step = seconds / len(names)
        self._sent = [0.0] * len(names)
        self._told = [None] * len(names)
        self._left = len(names)
        self._queries = [message.query(name, number=at // len(sources), edns=edns)
                         for at, name in enumerate(names)]

    def over_udp(self):
        """A socket per address; the list of `Told`, in the order of the names."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(udp(source)) for source in self.sources]
            selector = stack.enter_context(selectors.DefaultSelector())
            for index, each in enumerate(sockets):
                each.setblocking(False)
                selector.register(each, selectors.EVENT_READ, index)
            return self._run(selector, self._receive,
                             lambda at: sockets[at % len(sockets)].send(self._queries[at]))

    def over_tcp(self):
        """A connection per address, all queries pipelined. An answer that is worse than none,
        to another question or with a swapped address, raises `Wrong`; also over UDP."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(tcp(source)) for source in self.sources]
            selector = stack.enter_context(selectors.DefaultSelector())
            buffers = [b""] * len(sockets)
            for index, each in enumerate(sockets):
                selector.register(each, selectors.EVENT_READ, index)

            def receive(each, index):
                data = each.recv(65536)
                if not data:
                    selector.unregister(each)
                buffers[index] += data
                while len(buffers[index]) >= 2:
                    (length,) = struct.unpack_from("!H", buffers[index])
                    if len(buffers[index]) < 2 + length:
                        break
                    self._note(buffers[index][2:2 + length], index)
                    buffers[index] = buffers[index][2 + length:]

            def send(at):
                query = self._queries[at]
                sockets[at % len(sockets)].sendall(struct.pack("!H", len(query)) + query)

            return self._run(selector, receive, send)

    def _run(self, selector, receive, send):
        began, at = time.monotonic(), 0
        while self._left:
            now = time.monotonic()
            while at < len(self.names) and began + at * self.step <= now:
                self._sent[at] = time.monotonic()
                send(at)
                at += 1
                if at % 32 == 0:
                    break
            more = at < len(self.names)
            pause = began + at * self.step - now if more else self._sent[-1] + self.wait - now
            if not more and pause <= 0 or not selector.get_map():
                break
            for key, _events in selector.select(max(0, pause)):
                receive(key.fileobj, key.data)
        return [told or Told(name, sent, None, None)
                for told, name, sent in zip(self._told, self.names, self._sent)]

    def _receive(self, each, index):
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            for _ in range(64):
                self._note(each.recv(4096), index)

    def _note(self, data, index):
        now = time.monotonic()
        reply = message.parse(data)
        at = reply.number * len(self.sources) + index
        if at >= len(self.names) or reply.name != self.names[at].lower():
            raise Wrong(f"an answer for {reply.name} with ID {reply.number}")
        if reply.addresses and set(reply.addresses) != {message.address_of(reply.name)}:
            raise Wrong(f"{reply.name} has {reply.addresses}")
        if self._told[at] is None:
            self._left -= 1
            self._told[at] = Told(reply.name, self._sent[at], (now - self._sent[at]) * 1000, reply)


def good(told):
    """Those with an address."""
    return [each for each in told if each.reply and each.reply.addresses]


def coded(told, rcode):
    """Those with this code and no answer."""
    return [each for each in told if each.reply and each.reply.rcode == rcode
            and not each.reply.addresses]


def percentile(told, part):
    """Milliseconds below which this part of the answers came; lost ones count as the longest."""
    times = sorted(each.ms if each.ms is not None else float("inf") for each in told)
    return times[min(len(times) - 1, int(len(times) * part))]


def words(told):
    """What one query saw, for the table."""
    if told.reply is None:
        return "nothing"
    code = message.RCODES[told.reply.rcode] if told.reply.rcode < 6 else str(told.reply.rcode)
    what = " ".join(told.reply.addresses) or code + (" TC" if told.reply.truncated else "")
    ede = "".join(f" EDE {code}" for code in told.reply.ede)
    return f"{what}{ede} in {told.ms:.0f} ms"
