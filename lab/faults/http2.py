"""DNS over HTTPS of the upstream that misbehaves: as much of HTTP/2 as a POST with a body needs.

Modes, besides those that make an answer: status NNN, text (another content type), long (a body
of 70,000 bytes), empty (none), cancel (RST_STREAM), goaway (GOAWAY instead of an answer), each
(GOAWAY behind each answer, then FIN), half, reset, mute (not even SETTINGS).
"""

import asyncio
import struct

from lab.faults import message, modes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
_STATUS = {200: b"\x88", 404: b"\x8d", 500: b"\x8e"}  # of the fixed table, RFC 7541


def frame(kind, flags, stream, payload=b""):
    """A frame (RFC 9113, 4.1)."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def response(stream, body, status=200, media=b"application/dns-message"):
    """HEADERS and DATA."""
    head = _STATUS[status] + b"\x0f\x10" + bytes([len(media)]) + media
    if not body:
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, head)
    parts = [body[at:at + 16384] for at in range(0, len(body), 16384)]
    sent = [frame(DATA, 0, stream, part) for part in parts[:-1]]
    sent.append(frame(DATA, END_STREAM, stream, parts[-1]))
    return frame(HEADERS, END_HEADERS, stream, head) + b"".join(sent)


class Session:
    """The frames of one connection; `said(stream, body)` is told each request."""

    def __init__(self, reader, writer, said):
        self.reader, self.writer, self.said = reader, writer, said
        self.bodies = {}

    async def serve(self):
        """Until the client ends, or `said` returns False."""
        if await self.reader.readexactly(len(PREFACE)) != PREFACE:
            raise ConnectionError("no HTTP/2")
        self.writer.write(frame(SETTINGS, 0, 0, struct.pack("!HI", 3, 100)))  # 100 streams
        while True:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = struct.unpack("!BBI", head[3:])
            if not await self._take(kind, flags, stream, payload):
                return

    async def _take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.writer.write(frame(PING, ACK, 0, payload))
        elif kind in (HEADERS, DATA):
            if kind == DATA:
                self.bodies[stream] = self.bodies.get(stream, b"") + payload
                if payload:
                    self.writer.write(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", len(payload))))
            if flags & END_STREAM:
                return await self.said(stream, self.bodies.pop(stream, b""))
        return True

    def answer(self, stream, asked, words):
        """What a request gets; bytes."""
        mode, number = words[0], int(words[1]) if len(words) > 1 else 0
        good = response(stream, message.answer(asked))
        special = {
            "status": lambda: response(stream, b"no", number, b"text/plain"),
            "text": lambda: response(stream, message.answer(asked), media=b"text/html"),
            "long": lambda: response(stream, bytes(70_000)),
            "empty": lambda: response(stream, b""),
            "cancel": lambda: frame(RST_STREAM, 0, stream, struct.pack("!I", 7)),
            "goaway": lambda: frame(GOAWAY, 0, 0, struct.pack("!II", 0, 0)),
            "each": lambda: good + frame(GOAWAY, 0, 0, struct.pack("!II", stream, 0)),
            "half": lambda: good[:len(good) // 2],
        }
        if mode in special:
            return special[mode]()
        if mode in ("tls12", "tls11"):
            return good
        return b"".join(response(stream, reply) for _delay, reply in modes.replies(asked, words))


async def later(writer, milliseconds, data):
    """Sends something after a while."""
    await asyncio.sleep(milliseconds / 1000)
    writer.write(data)
