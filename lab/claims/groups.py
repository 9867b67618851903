"""Two nodes in a group: one is killed, cut off, chosen, revived; all are; nothing works at all."""

import contextlib
import socket
import time

from lab import home, net
from lab.claims.flows import fetch, router_wan
from lab.tour import claim

NETWORKS = ("tcp4", "tcp6", "udp4", "udp6")
SOON = 1.0      # seconds: what a dead node may cost the next flow
CHECKED = 15.0  # seconds in which checks every 5 s must have found out
SILENT_NAMES = 1.5  # seconds for an answer while the node of a socket in use says nothing
OUTAGE = 40.0   # seconds in which it must be seen that nothing works

_ROUTER_CUT_OFF = f"""table inet outage {{
    chain heard {{ type filter hook input priority filter;
        ip saddr {home.wan(4, home.ROUTER_WAN)} drop; ip6 saddr {home.wan(6, home.ROUTER_WAN)} drop; }}
}}
"""


def seen_as(node, family):
    """Whom a server sees when this node connects."""
    return home.srv(family, node.number)


def lives(lab, name):
    """What is known of a node, by network."""
    rows = lab.daemon.status()["nodes"]
    return {row["network"]: row["life"] for row in rows if row["node"] == name}


def wait_for_life(lab, row, name, wanted, seconds=CHECKED):
    """Until a node is that in every network; seconds it took."""
    began = time.monotonic()

    def there():
        now = lives(lab, name)
        return all(now.get(network) == wanted for network in NETWORKS)

    row.want(net.wait_for(there, seconds), f"{name} {wanted} everywhere: {lives(lab, name)}")
    return time.monotonic() - began


def used(lab, network):
    """What new flows of the group leave by."""
    rows = lab.daemon.status()["groups"]
    return next(row["uses"] for row in rows
                if row["group"] == "pair" and row["network"] == network)


def choose(lab, row, member):
    """By the command line."""
    done = lab.daemon.command("choose", "pair", member)
    row.want(done.returncode == 0, f"dae choose to work: {done.stderr.strip()}")


@contextlib.contextmanager
def both(lab, row, first=True):
    """Both nodes alive, the first one in use; and again so afterwards, as far as it can be."""
    try:
        for node in lab.nodes:
            wait_for_life(lab, row, node.name, "alive")
        if first:
            choose(lab, row, lab.nodes[0].name)
        yield lab.nodes
    finally:
        for node in lab.nodes:
            node.unmute()
            node.start()
        if lab.daemon.exit_code is None:
            lab.daemon.command("choose", "pair", "auto")


def get(lab, row, node, family):
    """GET by the group; the server must have seen this node; milliseconds."""
    return fetch(lab, row, home.srv(family, home.BY_GROUP), seen_as(node, family)).ms


def echo(lab, row, node, family):
    """A datagram by the group, as above."""
    caller, ms = lab.client.echo(home.srv(family, home.BY_GROUP), home.ECHO_PORT)
    row.saw += f"; UDP: {caller}, {ms:.1f} ms"
    row.want(caller == seen_as(node, family), seen_as(node, family))


@claim("group: the chosen member carries TCP and UDP", home.FAMILIES)
def chosen(lab, row, family):
    row.did = "dae choose, GET and a datagram, for both members"
    with both(lab, row) as nodes:
        for node in nodes:
            choose(lab, row, node.name)
            get(lab, row, node, family)
            echo(lab, row, node, family)


@claim("group: a node is killed, the next flow is through within 1 s", home.FAMILIES)
def killed(lab, row, family):
    row.did = "kill -9 of the first node, then GET and a datagram"
    with both(lab, row) as (first, second):
        get(lab, row, first, family)
        first.kill()
        ms = get(lab, row, second, family)
        row.want(ms < SOON * 1000, f"it within {SOON:.0f} s")
        echo(lab, row, second, family)


@claim("group: a node that is silent costs 1 s at most, and not for long", home.FAMILIES)
def silent(lab, row, family):
    row.did = "the first node is cut off, then GETs"
    with both(lab, row) as (first, second):
        get(lab, row, first, family)
        first.mute()
        took = [get(lab, row, second, family) for _ in range(5)]
        row.saw = "through after " + ", ".join(f"{ms:.0f} ms" for ms in took)
        row.want(max(took) < SOON * 1000, f"each within {SOON:.0f} s")
        row.want(took[-1] < 200, "the last one at once")
        echo_began = time.monotonic()
        echo(lab, row, second, family)
        row.want(time.monotonic() - echo_began < SOON, f"UDP within {SOON:.0f} s")


@claim("group: a UDP session whose node falls silent goes on by the other", home.FAMILIES)
def moved(lab, row, family):
    row.did = "datagrams from one port while the first node is cut off"
    host = home.srv(family, home.BY_GROUP)
    with both(lab, row) as (first, second):
        with lab.client.socket(socket.SOCK_DGRAM, family) as opened:
            row.want(_caller(opened, host) == seen_as(first, family), seen_as(first, family))
            first.mute()
            began = time.monotonic()
            callers = []

            def other():
                callers.append(_caller(opened, host))
                return callers[-1] is not None

            row.want(net.wait_for(other, CHECKED + SOON), "an answer again")
            row.saw = f"{callers[-1]} answers after {time.monotonic() - began:.1f} s"
            row.want(callers[-1] == seen_as(second, family), seen_as(second, family))


def _caller(opened, host):
    """Whom the echo saw; None if it did not answer soon."""
    opened.settimeout(0.3)
    opened.sendto(b"hello", (host, home.ECHO_PORT))
    with contextlib.suppress(OSError):
        return opened.recvfrom(2048)[0].split()[0].decode()
    return None


@claim("group: a node that is revived is seen and used")
def revived(lab, row):
    row.did = "kill -9, until dead; start, until alive"
    with both(lab, row) as (first, second):
        first.kill()
        dead = wait_for_life(lab, row, first.name, "dead")
        get(lab, row, second, 4)
        first.start()
        alive = wait_for_life(lab, row, first.name, "alive")
        row.saw += f"; dead after {dead:.1f} s, alive after {alive:.1f} s"
        get(lab, row, first, 4)


@claim("group: DNS goes through it, also when a node dies")
def names(lab, row):
    row.did = "far.example by the upstream behind the group, before and after kill -9"
    with both(lab, row) as (first, second):
        for node in (first, second):
            lab.resolvers["public"].queries.clear()
            name = f"n{time.time_ns()}.far.example"
            asked = lab.client.ask(home.lan(4, home.ROUTER_LAN), name)
            callers = {query.caller for query in lab.resolvers["public"].queries
                       if query.name == name}
            row.saw += f"{asked.status} after {asked.ms} ms by {sorted(callers)}; "
            row.want(asked.ms < SOON * 1000, f"an answer within {SOON:.0f} s")
            row.want(callers == {seen_as(node, 4)}, seen_as(node, 4))
            first.kill()


@claim("group: DNS goes on when its node falls silent")
def silent_names(lab, row):
    row.did = "far.example, one name every 0.3 s, while the first node is cut off"
    with both(lab, row) as (first, second):
        server = home.lan(4, home.ROUTER_LAN)
        # Sockets in use stay where they are; these are new ones.
        lab.daemon.stop()
        lab.daemon.start()
        lab.client.ask(server, f"n{time.time_ns()}.far.example")
        callers = {query.caller for query in lab.resolvers["public"].queries[-9:]}
        row.want(seen_as(first, 4) in callers, "it by the first")
        first.mute()
        took = []
        for _ in range(12):
            name = f"n{time.time_ns()}.far.example"
            asked = lab.client.ask(server, name)
            row.want(asked.status == "NXDOMAIN", f"the zone's answer, not {asked.status}")
            took.append(asked.ms)
            time.sleep(0.3)
        # What is sent to the first node's relay by UDP still arrives; the answer does not.
        callers = {query.caller for query in lab.resolvers["public"].queries if query.name == name}
        row.saw = ", ".join(f"{ms} ms" for ms in took) + f"; the last by {sorted(callers)}"
        row.want(max(took) < SILENT_NAMES * 1000, f"each within {SILENT_NAMES} s")
        row.want(took[-1] < 200, "the last one at once")
        row.want(seen_as(second, 4) in callers, seen_as(second, 4))


@claim("group: a choice outlives a restart, and auto ends it")
def kept(lab, row):
    row.did = "dae choose, stop, start, GET; dae choose auto"
    with both(lab, row) as (_first, second):
        choose(lab, row, second.name)
        lab.daemon.stop()
        lab.daemon.start()
        get(lab, row, second, 4)
        rows = lab.daemon.status()["groups"]
        row.want({each["choice"] for each in rows} == {second.name}, "the choice in status")
        choose(lab, row, "auto")
        rows = lab.daemon.status()["groups"]
        row.want({each["choice"] for each in rows} == {None}, "no choice in status")
        refused = lab.daemon.command("choose", "pair", "nobody")
        row.saw += f"; {refused.stderr.strip()}"
        row.want(refused.returncode == 1, "a member that is none to be refused")


@claim("group: all dead, the fallback carries", home.FAMILIES)
def fallback(lab, row, family):
    row.did = "kill -9 of both, then GET"
    with both(lab, row) as nodes:
        for node in nodes:
            node.kill()
        for node in nodes:
            wait_for_life(lab, row, node.name, "dead")
        fetch(lab, row, home.srv(family, home.BY_GROUP), router_wan(family))
        row.want(used(lab, f"tcp{family}") == "direct", "direct in status")
    for node in lab.nodes:
        wait_for_life(lab, row, node.name, "alive")
    get(lab, row, next(node for node in lab.nodes if node.name == used(lab, f"tcp{family}")), family)


@claim("group: what is down for all kills nobody")
def outage(lab, row):
    row.did = "nothing of the router arrives anywhere, until that is seen; then it does again"
    with both(lab, row, first=False) as nodes:
        deaths = lab.daemon.status()["checks"]["deaths"]
        net.run(home.INTERNET, "nft", "-f", "-", stdin=_ROUTER_CUT_OFF)
        try:
            down = _until_down(lab, row, True)
            for node in nodes:
                row.want("dead" not in lives(lab, node.name).values(), f"{node.name} not dead")
        finally:
            table = _ROUTER_CUT_OFF.split("{", 1)[0]
            net.run(home.INTERNET, "nft", "-f", "-", stdin=f"{table}\ndelete {table}")
        over = _until_down(lab, row, False)
        row.saw = f"seen after {down:.1f} s, seen to be over after {over:.1f} s"
        for node in nodes:
            wait_for_life(lab, row, node.name, "alive")
        row.want(lab.daemon.status()["checks"]["deaths"] == deaths, "nobody to die")


def _until_down(lab, row, wanted):
    began = time.monotonic()

    def there():
        return set(lab.daemon.status()["checks"]["down"].values()) == {wanted}

    row.want(net.wait_for(there, OUTAGE), f"down to be {wanted} in every network")
    return time.monotonic() - began
