"""What the people at home do: fetch pages, ask for names, send datagrams. Starts programs."""

import collections
import contextlib
import json
import re
import socket
import subprocess
import time

from lab import home, net
from lab.net import NoAnswer

Page = collections.namedtuple("Page", "caller ms port")
Answer = collections.namedtuple("Answer", "status records ttl server flags text ms")


def url(host, path="/"):
    """http:// with an address of either family."""
    return f"http://[{host}]{path}" if ":" in host else f"http://{host}{path}"


class Client:
    """Runs in the client's namespace, with a resolv.conf of its own."""

    def __init__(self, resolv_conf):
        # The mount is seen by this one command only: `ip netns exec` gives it a mount view.
        script = f'mount --bind {resolv_conf} /etc/resolv.conf && exec "$@"'
        self._wrapper = ["ip", "netns", "exec", home.CLIENT, "sh", "-c", script, "sh"]

    def run(self, *argv, timeout=60):
        """A command on the client; the finished process."""
        return subprocess.run([*self._wrapper, *argv], text=True, capture_output=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    def fetch(self, host, family=None, source=None, wait=5):
        """GET http://HOST/; whom the server saw."""
        options = [f"-{family}"] if family else []
        options += ["--interface", source] if source else []
        done = self.run("curl", "-sS", "--max-time", str(wait), *options,
                        "-w", "%{time_total} %{local_port}", url(host))
        if done.returncode != 0:
            raise NoAnswer(done.stderr.strip())
        body, numbers = done.stdout.rsplit("\n", 1)
        seconds, port = numbers.split()
        return Page(json.loads(body)["caller"], float(seconds) * 1000, int(port))

    def download(self, host):
        """GET http://HOST/big; (SHA-256 of what came, seconds)."""
        began = time.monotonic()
        script = f"curl -sS --max-time 120 '{url(host, '/big')}' | sha256sum"
        done = self.run("sh", "-c", script, timeout=130)
        return done.stdout.split()[0], time.monotonic() - began

    def ask(self, server, name, kind="A", tcp=False, wait=5, options=()):
        """One query by dig, which takes only an answer that comes from `server`."""
        done = self.run("dig", f"@{server}", name, kind, "+tries=1", f"+time={wait}",
                        "+tcp" if tcp else "+notcp", *options, timeout=wait + 10)
        if "status:" not in done.stdout:
            raise NoAnswer(f"{name} {kind} of {server}: {done.stdout.strip().splitlines()[-1]}")
        return _answer(done.stdout)

    def socket(self, kind, family, source=None, port=0):
        """A socket on the client, bound to the laptop unless told otherwise."""
        opened = net.open_socket(home.CLIENT, socket.AF_INET if family == 4 else socket.AF_INET6,
                                 kind)
        opened.settimeout(2)
        opened.bind((source or home.lan(family, home.LAPTOP), port))
        return opened

    def echo(self, host, port, source=None, wait=2.0):
        """One datagram to the echo server; (whom it saw, milliseconds)."""
        family = 6 if ":" in host else 4
        with self.socket(socket.SOCK_DGRAM, family, source) as opened:
            opened.settimeout(wait)
            began = time.monotonic()
            opened.sendto(b"hello", (host, port))
            with contextlib.suppress(ConnectionRefusedError):
                while True:
                    data, sender = opened.recvfrom(2048)
                    if sender[:2] == (host, port):
                        return data.split()[0].decode(), (time.monotonic() - began) * 1000
        raise NoAnswer(f"{host} port {port} refused")


def _answer(text):
    records, ttl = [], None
    section = text.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
    for line in section.splitlines():
        _name, ttl_text, _class, _kind, data = line.split(None, 4)
        records.append(data)
        ttl = int(ttl_text)
    return Answer(
        status=re.search(r"status: (\w+)", text)[1],
        records=records,
        ttl=ttl,
        server=re.search(r";; SERVER: (\S+?)#", text)[1],
        flags=re.search(r";; flags: ([a-z ]*);", text)[1].split(),
        text=text,
        ms=int(re.search(r";; Query time: (\d+) msec", text)[1]),
    )
