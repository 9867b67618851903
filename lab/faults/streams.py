"""The TCP and TLS side of the upstream that misbehaves.

Modes, besides those of UDP that make an answer:
  reset, reset_early     RST after the first query; at once
  close_early            FIN at once
  half [N]               half of an answer, then FIN; the first N connections only
  each, each_hard        FIN, or a close that sends RST, after each answer
  slow MS                an answer byte by byte, which takes so long
  reorder N              answers when N queries are there (or 50 ms after the last), last first
  huge, zero             a length of 65,535 with nothing behind it; a length of 0
  deaf                   reads nothing
Modes of TLS alone: hang (no handshake), plain (text instead of a handshake), tls12, tls11.
HTTPS has the modes of TLS and those of `http2.py`.
"""

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct

from lab.faults import http2, message, modes

_NO_LINGER = struct.pack("ii", 1, 0)


async def listen(server, kind, where, certificates):
    """Opens the port of a server."""
    mode = server.mode(kind)[0]
    context = None
    if kind != "tcp" and mode not in ("hang", "plain", "close_early", "reset_early"):
        context = _context(os.path.join(certificates, server.certificate), mode)
        context.set_alpn_protocols(["h2"] if kind == "https" else ["dot"])

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            await Connection(server, kind, reader, writer).serve()
        writer.close()

    return await asyncio.start_server(serve, *where, ssl=context, backlog=1024)


def _context(path, mode):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{path}.pem", f"{path}.key")
    if mode in ("tls11", "tls12"):
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = (ssl.TLSVersion.TLSv1_1 if mode == "tls11"
                                   else ssl.TLSVersion.TLSv1_2)
    return context


class Connection:
    """One of them, served in the mode that holds when a query comes."""

    def __init__(self, server, kind, reader, writer):
        self.server, self.kind, self.reader, self.writer = server, kind, reader, writer
        self.caller = writer.get_extra_info("peername")[1]
        server.opened += 1
        self.number = server.opened
        secure = writer.get_extra_info("ssl_object")
        server.resumed += bool(secure and secure.session_reused)
        self.held, self.release, self.session = [], None, None

    async def serve(self):
        """Until either side ends."""
        self.server.open += 1
        self.server.most = max(self.server.most, self.server.open)
        try:
            await self._serve()
        finally:
            self.server.open -= 1

    async def _serve(self):
        mode = self.server.mode(self.kind)[0]
        if mode == "reset_early":
            self._reset()
        elif mode == "plain":
            self.writer.write(b"220 this is not what you think\r\n" * 4)
            await self.reader.read()
        elif mode in ("deaf", "hang", "mute"):
            self.writer.transport.pause_reading()
            await asyncio.sleep(60)
        elif self.kind == "https" and mode != "close_early":
            self.session = http2.Session(self.reader, self.writer, self._posted)
            await self.session.serve()
        elif mode != "close_early":
            while True:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                asked = await self.reader.readexactly(length)
                self.server.saw(self.kind, asked, self.caller, self.number)
                if not await self._answer(asked, self.server.mode(self.kind)):
                    return

    async def _posted(self, stream, asked):
        """Answers a request by HTTP; whether the connection goes on."""
        self.server.saw("https", asked, self.caller, self.number)
        words = self.server.mode("https")
        if words[0] == "reset":
            self._reset()
        elif words[0] == "delay":
            good = self.session.answer(stream, asked, ["good"])
            asyncio.ensure_future(http2.later(self.writer, int(words[1]), good))
        else:
            self.writer.write(self.session.answer(stream, asked, words))
            await self.writer.drain()
        return words[0] not in ("reset", "each", "half", "goaway")

    async def _answer(self, asked, words):
        """Answers a query; whether the connection goes on."""
        mode, number = words[0], int(words[1]) if len(words) > 1 else 0
        good = _framed(message.answer(asked))
        if mode in ("reset", "each_hard"):
            self.writer.write(good if mode == "each_hard" else b"")
            await self.writer.drain()
            self._reset(mode == "reset")
            return False
        if mode == "each" or mode == "half" and (not number or self.number <= number):
            self.writer.write(good if mode == "each" else good[:len(good) // 2])
            await self._finish()
            return False
        if mode == "reorder":
            self._hold(good, number)
        elif mode in ("slow", "delay"):
            asyncio.ensure_future(self._late(good, mode, number))
        else:
            self.writer.write(self._plain(asked, mode, good))
        return True

    def _plain(self, asked, mode, good):
        if mode == "huge":
            return b"\xff\xff"
        if mode == "zero":
            return b"\0\0"
        if mode == "garbage":
            return _framed(random.randbytes(40))
        if mode in ("half", "tls12", "tls11"):
            return good
        return b"".join(_framed(reply) for _delay, reply in modes.replies(asked, [mode]))

    async def _late(self, good, mode, milliseconds):
        if mode == "delay":
            await asyncio.sleep(milliseconds / 1000)
            self.writer.write(good)
            return
        for at in range(len(good)):
            self.writer.write(good[at:at + 1])
            await asyncio.sleep(milliseconds / 1000 / len(good))

    def _hold(self, good, number):
        self.held.append(good)
        if self.release:
            self.release.cancel()
        loop = asyncio.get_running_loop()
        self.release = loop.call_later(0 if len(self.held) >= number else 0.05, self._let_go)

    def _let_go(self):
        self.writer.write(b"".join(reversed(self.held)))
        self.held.clear()

    def _reset(self, at_once=True):
        own = self.writer.get_extra_info("socket")
        if at_once:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.writer.transport.abort()

    async def _finish(self):
        """FIN, and what comes after it is read and dropped: no RST takes the answer away."""
        await self.writer.drain()
        if self.kind == "tcp":
            self.writer.write_eof()
        else:
            self.writer.close()
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drain(), 1)

    async def _drain(self):
        while await self.reader.read(65536):
            pass


def _framed(reply):
    return struct.pack("!H", len(reply)) + reply
