"""Servers of the lab's internet that report who called them. Threads of this process.

Their sockets live in another namespace; what they saw is in lists that claims may read.
"""

import hashlib
import json
import os
import selectors
import socket
import threading

from lab import home, net

BIG_BYTES = 100 * 1000 * 1000


def in_background(function, *args):
    """Runs a function in a thread that does not outlive us."""
    threading.Thread(target=function, args=args, daemon=True).start()


def accept_forever(listening, serve):
    """A thread per connection; ends when the listener is closed."""
    while True:
        try:
            connection, caller = listening.accept()
        except OSError:
            return
        in_background(_served, serve, connection, caller)


def _served(serve, connection, caller):
    with connection:
        connection.settimeout(30)
        try:
            serve(connection, caller)
        except OSError:
            pass  # the caller went away: its business


class Web:
    """GET / answers {"caller": address, "port": port}; GET /big sends 100 MB."""

    def __init__(self, undo, folder):
        self.downloaders = []  # whom /big was sent to
        self._path = os.path.join(folder, "big")
        self.digest = self._make_big()
        for family in home.FAMILIES:
            for number in home.SERVERS:
                listening = net.listener(home.INTERNET, socket.SOCK_STREAM,
                                         home.srv(family, number), home.WEB_PORT)
                undo.add("web server", listening.close)
                in_background(accept_forever, listening, self._serve)

    def _make_big(self):
        digest = hashlib.sha256()
        with open(self._path, "wb") as big:
            for _ in range(BIG_BYTES // 1_000_000):
                block = os.urandom(1_000_000)
                digest.update(block)
                big.write(block)
        return digest.hexdigest()

    def _serve(self, connection, caller):
        request = connection.makefile("rb")
        words = request.readline().split()
        while request.readline().strip():
            pass
        if len(words) > 1 and words[1] == b"/big":
            self.downloaders.append(caller[0])
            connection.sendall(_head(BIG_BYTES))
            with open(self._path, "rb") as big:
                connection.sendfile(big)
            return
        body = json.dumps({"caller": caller[0], "port": caller[1]}).encode() + b"\n"
        connection.sendall(_head(len(body)) + body)


def _head(length):
    return (f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


class Banner:
    """Stands for ssh on the router: says a line to whoever connects, and remembers the caller."""

    def __init__(self, undo, namespace, address, port):
        self.callers = []
        listening = net.listener(namespace, socket.SOCK_STREAM, address, port)
        self.close = listening.close
        undo.add("banner server", self.close)
        in_background(accept_forever, listening, self._serve)

    def _serve(self, connection, caller):
        self.callers.append(caller[0])
        connection.sendall(b"SSH-2.0-lab\r\n")


class Parrot:
    """TCP: sends back what it hears, and ends when the caller has said all."""

    def __init__(self, undo):
        for family in home.FAMILIES:
            for number in home.SERVERS:
                listening = net.listener(home.INTERNET, socket.SOCK_STREAM,
                                         home.srv(family, number), home.ECHO_PORT)
                undo.add("parrot", listening.close)
                in_background(accept_forever, listening, self._serve)

    def _serve(self, connection, _caller):
        while heard := connection.recv(65536):
            connection.sendall(heard)


class Echo:
    """UDP: answers "ADDRESS PORT DATA", and keeps (address, port, data) of all that came."""

    def __init__(self, undo):
        self.seen = []
        self.sockets = {}
        self.swap = False  # broken on purpose: every second datagram overtakes the one before it
        self._held = None
        self._selector = selectors.DefaultSelector()
        for family in home.FAMILIES:
            for number in home.SERVERS:
                for port in (home.ECHO_PORT, home.QUIC_PORT):
                    self._open(undo, home.srv(family, number), port)
        in_background(self._serve)

    def _open(self, undo, address, port):
        opened = net.listener(home.INTERNET, socket.SOCK_DGRAM, address, port)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        undo.add("echo server", opened.close)
        self.sockets[address, port] = opened
        self._selector.register(opened, selectors.EVENT_READ)

    def _serve(self):
        while True:
            try:
                for key, _ in self._selector.select():
                    data, caller = key.fileobj.recvfrom(2048)
                    self._answer(key.fileobj, data, caller)
            except (OSError, ValueError):
                if all(opened.fileno() < 0 for opened in self.sockets.values()):
                    return

    def _answer(self, opened, data, caller):
        if self.swap and self._held is None:
            self._held = (data, caller)
            return
        for each, to in filter(None, ((data, caller), self._held)):
            self.seen.append((to[0], to[1], each))
            opened.sendto(f"{to[0]} {to[1]} ".encode() + each, to)
        self._held = None
