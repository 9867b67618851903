#!/usr/bin/env python3
"""The upstream that misbehaves: python3 upstream.py PLAN CONTROL. Its own process, its own loop.

PLAN is a JSON list of servers, each with an address, a port and a mode for UDP and for TCP, TLS
or HTTPS; CONTROL is a Unix socket that takes JSON lines (see `Control`). Loss, outages and black
holes on the wire are made by nftables, not here.

Modes of UDP: good, brief (TTL 1), closed (no socket), silent, delay MS, truncated, servfail, refused, formerr,
wrong_id [N], wrong_question [N] (N of them and then the good one), garbage, broken.
Modes of streams: those, and see `streams.py`.
"""

import asyncio
import json
import os
import resource
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from lab.faults import message, modes, streams  # noqa: E402


class Server:
    """One port: its modes, and what it has seen."""

    def __init__(self, plan):
        self.name, self.port = plan["name"], plan["port"]
        self.modes = {kind: plan[kind] for kind in ("udp", "tcp", "tls", "https")}
        self.certificate = plan["certificate"]
        self.seen = []
        self.opened = self.open = self.most = self.resumed = 0

    def mode(self, kind):
        """The words of the mode, now."""
        return (self.modes[kind] or "closed").split()

    def saw(self, kind, asked, caller, connection=0):
        """Remembers a query."""
        name, _kind, end = message.question(asked)
        edns = message.parse(asked) if asked[10:12] != b"\0\0" else None
        self.seen.append({"at": time.monotonic(), "over": kind, "name": name, "port": caller,
                          "number": int.from_bytes(asked[:2], "big"), "length": len(asked),
                          "connection": connection, "edns": bool(edns),
                          "spelt": asked[12:end - 4].hex(),
                          "padding": edns and edns.padding})


class Datagrams(asyncio.DatagramProtocol):
    """The UDP side of a server."""

    def __init__(self, server):
        self.server = server
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        own = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def datagram_received(self, data, addr):
        try:
            self.server.saw("udp", data, addr[1])
        except (ValueError, IndexError):
            return
        for delay, reply in modes.replies(data, self.server.mode("udp")):
            if delay:
                asyncio.get_running_loop().call_later(delay, self.transport.sendto, reply, addr)
            else:
                self.transport.sendto(reply, addr)


class Control:
    """{"set": NAME, "udp": MODE, ...} changes modes; {"see": NAME} tells what a server has seen."""

    def __init__(self, servers):
        self.servers = {server.name: server for server in servers}

    async def serve(self, reader, writer):
        """Answers line by line."""
        while line := await reader.readline():
            writer.write(json.dumps(self._obey(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    def _obey(self, order):
        if "set" in order:
            self.servers[order.pop("set")].modes.update(order)
            return {}
        server = self.servers[order["see"]]
        return {"seen": server.seen, "opened": server.opened, "open": server.open,
                "most": server.most, "resumed": server.resumed}


async def main(plan_file, control):
    """Serves for ever."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    with open(plan_file, encoding="utf-8") as file:
        plan = json.load(file)
    loop, servers, kept = asyncio.get_running_loop(), [], []
    for each in plan["servers"]:
        server, where = Server(each), (each["address"], each["port"])
        servers.append(server)
        if server.mode("udp")[0] != "closed":
            kept.append(await loop.create_datagram_endpoint(
                lambda server=server: Datagrams(server), local_addr=where))
        for kind in ("tcp", "tls", "https"):
            if server.mode(kind)[0] != "closed":
                kept.append(await streams.listen(server, kind, where, plan["certificates"]))
    await asyncio.start_unix_server(Control(servers).serve, control)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
