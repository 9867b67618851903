"""Settings change while everything is in use; a pause; a dead daemon with its kill switch on."""

import contextlib
import re
import socket
import statistics
import subprocess
import threading
import time

from lab import home, net, peers, snapshot
from lab.claims.flows import fetch, proxy_out, router_wan
from lab.claims.names import answered_by, public, router
from lab.tour import Wrong, claim

RELOADS = 10
MOST_MS = 2000         # the median; lab/bench_proxy.py measures it with the machine to itself
NAMES = 10_000
QUERIES_A_SECOND = 2000
SECONDS = 8
ADDED_RULE = """
config rule
	option name 'added'
	list dest_ip '203.0.113.10'
	list dest_ip '2001:db8:113::10'
	option outbound 'proxy'
"""


@contextlib.contextmanager
def settings(lab):
    """The text of the configuration; put back, and reloaded, at the end."""
    with open(lab.daemon.config, encoding="utf-8") as config:
        text = config.read()
    try:
        yield text
    finally:
        lab.daemon.configure(text)
        lab.daemon.command("reload")


def reload(lab, text, *words):
    """Reloads with this configuration; what the status says of it."""
    lab.daemon.configure(text)
    done = lab.daemon.command("reload", *words)
    if done.returncode != 0:
        raise Wrong(f"dae reload to succeed: {done.stdout}{done.stderr}")
    return lab.daemon.status()["reload"]["last"]


PASSING_NODE = """
config node 'passing'
	option url 'socks5://203.0.113.9:1080'
""" + ADDED_RULE.replace("'proxy'", "'passing'")


class Talk:
    """A connection to a parrot, and whether it goes on."""

    def __init__(self, lab, family, number):
        self._socket = lab.client.socket(socket.SOCK_STREAM, family)
        self._socket.connect((home.srv(family, number), home.ECHO_PORT))
        self.goes_on()

    def goes_on(self):
        """Whether the parrot answers; an OSError when the connection is broken."""
        self._socket.settimeout(2)
        self._socket.sendall(b"hello")
        return self._socket.recv(100) == b"hello"

    def ends(self, seconds):
        """Whether it ends, or is reset, within that time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(100) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


class Flood:
    """Numbered datagrams to an echo, as fast as they come back or 1,000 a second."""

    def __init__(self, lab, host):
        self.sent, self.answered = 0, set()
        self._over = threading.Event()
        self._to = (host, home.ECHO_PORT)
        self._socket = lab.client.socket(socket.SOCK_DGRAM, 4)
        self._threads = [threading.Thread(target=each, daemon=True)
                         for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        while not self._over.is_set():
            self._socket.sendto(str(self.sent).encode(), self._to)
            self.sent += 1
            time.sleep(0.001)

    def _receive(self):
        self._socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                self.answered.add(self._socket.recv(2048).split()[-1])

    def finish(self):
        """How many were sent, and how many did not come back."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.sent, self.sent - len(self.answered)


@claim("ten reloads under load: no query, packet or flow is lost")
def under_load(lab, row):
    row.did = f"{RELOADS} reloads with {NAMES} names, {QUERIES_A_SECOND} queries/s"
    names = "".join(f"\tlist domain 'n{at}.many.example'\n" for at in range(NAMES))
    many = f"\nconfig rule\n\toption name 'many'\n{names}\toption outbound 'proxy'\n"
    first = "config node 'unused'\n\toption url 'socks5://203.0.113.9:9'\n\n"
    with settings(lab) as text:
        wanted = [text + many, first + text.replace("list local_domain", "option query_log '9'\n"
                                                    "\tlist local_domain") + many + ADDED_RULE]
        proxied, direct = Talk(lab, 4, home.BY_PREFIX), Talk(lab, 4, home.OTHER_BY_PREFIX)
        plain = Talk(lab, 4, home.PLAIN)
        flood = Flood(lab, home.srv(4, home.NOT_IN_PREFIX))
        downloads, over = [], threading.Event()

        def download():
            while not over.is_set():
                downloads.append(lab.client.download(home.srv(4, home.BY_PREFIX))[0])

        thread = threading.Thread(target=download, daemon=True)
        thread.start()
        asked = peers.write(lab.folder, "asked", "cached.example A\nplain.example A\n"
                            + "".join(f"n{at}.many.example A\n" for at in range(2000)))
        perf = net_popen(lab, "dnsperf", "-s", router(4), "-d", asked, "-l", str(SECONDS),
                         "-Q", str(QUERIES_A_SECOND), "-c", "4", "-T", "1")
        lasts = []
        for at in range(RELOADS):
            time.sleep(SECONDS / (RELOADS + 2))
            lasts.append(reload(lab, wanted[at % 2]))
        output = perf.communicate(timeout=60)[0]
        over.set()
        thread.join()
        sent, lost = flood.finish()
        completed, queries_lost = (int(re.search(rf"Queries {word}: +(\d+)", output)[1])
                                   for word in ("completed", "lost"))
        took = [last["took_ms"] for last in lasts]
        paused = [last["paused_ms"] for last in lasts]
        row.saw = (f"{completed} queries, {queries_lost} lost; {sent} direct packets, {lost} lost; "
                   f"{len(downloads)} downloads; took {statistics.median(took):.0f} ms in the median, "
                   f"{max(took):.0f} ms at most, "
                   f"paused {max(paused):.1f} ms at most")
        row.want(all(last["ok"] and not last["restart"] for last in lasts), "all to succeed")
        row.want(completed > QUERIES_A_SECOND * SECONDS / 2 and queries_lost == 0, "no query lost")
        row.want(sent > 1000 and lost == 0, "no direct packet lost")
        row.want(downloads and set(downloads) == {lab.web.digest}, "whole downloads")
        for talk in (proxied, direct, plain):
            row.want(talk.goes_on(), "all flows to go on")
        row.want(statistics.median(took) <= MOST_MS, f"{MOST_MS} ms in the median")


def net_popen(lab, *argv):
    """A command on the client that goes on beside us."""
    with net.inside(home.CLIENT):
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, cwd=lab.folder)


@claim("a new rule decides the next connection", home.FAMILIES)
def new_rule(lab, row, family):
    row.did = "GET, a rule more, GET"
    host = home.srv(family, home.PLAIN)
    with settings(lab) as text:
        fetch(lab, row, host, router_wan(family))
        talk = Talk(lab, family, home.PLAIN)
        reload(lab, text + ADDED_RULE)
        fetch(lab, row, host, proxy_out(family))
        row.want(talk.goes_on(), "the connection of before to go on")
    fetch(lab, row, host, router_wan(family))


@claim("a node that is gone: its flows drain, or are cut")
def gone(lab, row):
    row.did = "reload without the node and drain '2', reload --abort"
    with settings(lab) as text:
        without = text.replace("option default_outbound", "option drain '2'\n\toption default_outbound")
        brief = without + PASSING_NODE
        reload(lab, brief)
        drains, direct = Talk(lab, 4, home.PLAIN), Talk(lab, 4, home.NOT_IN_PREFIX)
        other = Talk(lab, 4, home.BY_PREFIX)
        reload(lab, without)
        row.want(drains.goes_on(), "it to go on for a while")
        began = time.monotonic()
        row.want(drains.ends(6), "it to end")
        row.saw = f"cut after {time.monotonic() - began:.1f} s"
        reload(lab, brief)
        cut = Talk(lab, 4, home.PLAIN)
        reload(lab, without, "--abort")
        began = time.monotonic()
        row.want(cut.ends(1), "it to end at once")
        row.saw += f", at once after {(time.monotonic() - began) * 1000:.0f} ms"
        row.want(direct.goes_on() and other.goes_on(), "the others to go on")


@claim("suspended: the network as if we were not there; resumed: as before")
def pause(lab, row):
    row.did = "dae suspend, dae resume"
    proxied = Talk(lab, 4, home.BY_PREFIX)
    row.after(lab.daemon.command, "resume")
    row.want(lab.daemon.command("suspend").returncode == 0, "dae suspend to succeed")
    row.want(lab.daemon.status()["suspended"], "the status to say so")
    row.want(proxied.ends(1), "the proxied connection to be cut")
    for family in home.FAMILIES:
        fetch(lab, row, home.srv(family, home.BY_PREFIX), router_wan(family))
        answered_by(lab, row, public(family), "public")
    now = snapshot.take(lab.daemon.run_dir)
    kinds = ("rule", "route", "qdisc", "filter", "tcx", "sysctl", "nftables")
    left = [line for line in snapshot.differences(lab.before, now)
            if line.split(":")[0] in kinds]
    row.want(not left, f"nothing left, not {left[:3]}")
    row.want(lab.daemon.command("resume").returncode == 0, "dae resume to succeed")
    for family in home.FAMILIES:
        fetch(lab, row, home.srv(family, home.BY_PREFIX), proxy_out(family))
        answered_by(lab, row, public(family), "main")


@claim("kill switch: a dead daemon lets direct through and nothing else")
def kill_switch(lab, row):
    row.did = "kill_switch '1', kill -9, and a start over it"
    with settings(lab) as text:
        closed = text.replace("option default_outbound", "option kill_switch '1'\n"
                              "\toption default_outbound")
        if lab.daemon.attach == "tcx":
            lab.daemon.configure(closed)
            done = lab.daemon.command("check")
            row.saw = done.stderr.strip().splitlines()[0]
            row.want(done.returncode == 1 and "kill_switch" in done.stderr, "it to be refused")
            # Whether it is refused or not: a reload with it changes nothing.
            row.want(lab.daemon.command("reload").returncode == 1, "the reload too")
            closed = closed.replace("attach 'tcx'", "attach 'auto'")
        reload(lab, closed)
        row.want(lab.daemon.status()["devices"][0]["hook"] == "clsact", "clsact")
        direct = Talk(lab, 4, home.PLAIN)
        lab.daemon.kill()
        for family in home.FAMILIES:
            row.want(_fails(lambda host=home.srv(family, home.BY_PREFIX):
                            lab.client.fetch(host, wait=1)), "no page by prefix")
            row.want(_fails(lambda server=public(family):
                            lab.client.ask(server, "cached.example", wait=1)), "no DNS")
            fetch(lab, row, home.srv(family, home.PLAIN), router_wan(family))
        row.want(direct.goes_on(), "the direct connection to go on")
        lab.daemon.start()
        for family in home.FAMILIES:
            fetch(lab, row, home.srv(family, home.BY_PREFIX), proxy_out(family))
            answered_by(lab, row, public(family), "main")
        row.want(direct.goes_on(), "the direct connection to go on")
    programs = lab.programs()
    row.want(len(programs) == 1, f"one program, not {programs}")


def _fails(attempt):
    try:
        attempt()
    except net.NoAnswer:
        return True
    return False
