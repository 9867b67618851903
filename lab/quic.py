#!/usr/bin/env python3
"""QUIC peers (aioquic): a server that says who called and echoes, a client that asks it.

    quic.py server ADDRESS PORT CERTIFICATE KEY
    quic.py client ADDRESS PORT BYTES      prints {"caller": ..., "bytes": ..., "same": ...}
"""

import asyncio
import hashlib
import json
import os
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

ALPN = ["echo"]


class Echo(QuicConnectionProtocol):
    """Sends back what came, behind a line that says who sent it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._greeted = set()

    def quic_event_received(self, event):
        """Called by aioquic."""
        if not isinstance(event, StreamDataReceived):
            return
        data = event.data
        if event.stream_id not in self._greeted:
            self._greeted.add(event.stream_id)
            caller = self._quic._network_paths[0].addr  # aioquic has no other way to say it
            data = caller[0].removeprefix("::ffff:").encode() + b"\n" + data
        self._quic.send_stream_data(event.stream_id, data, event.end_stream)
        self.transmit()


async def server(address, port, certificate, key):
    """For ever."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=ALPN)
    configuration.load_cert_chain(certificate, key)
    await serve(address, int(port), configuration=configuration, create_protocol=Echo)
    await asyncio.Event().wait()


async def client(address, port, length):
    """One stream there and back."""
    configuration = QuicConfiguration(alpn_protocols=ALPN, verify_mode=ssl.CERT_NONE,
                                      server_name="quic.example")
    said = os.urandom(int(length))
    async with connect(address, int(port), configuration=configuration) as connection:
        reader, writer = await connection.create_stream()
        writer.write(said)
        writer.write_eof()
        caller = (await reader.readline()).decode().strip()
        heard = await reader.read()
    print(json.dumps({"caller": caller, "bytes": len(heard),
                      "same": hashlib.sha256(heard).digest() == hashlib.sha256(said).digest()}))


async def main():
    """As told."""
    what, *rest = sys.argv[1:]
    await asyncio.wait_for({"server": server, "client": client}[what](*rest),
                           None if what == "server" else 30)


if __name__ == "__main__":
    asyncio.run(main())
