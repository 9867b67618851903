"""TCP: who goes direct, who through the proxy."""

import json
import socket
import time

from lab import home, net
from lab.client import url
from lab.tour import claim


def fetch(lab, row, host, caller, source=None, family=None):
    """GET, and the server must have seen `caller`."""
    page = lab.client.fetch(host, family=family, source=source)
    note = f"{url(host)}: server saw {page.caller}, {page.ms:.0f} ms"
    row.saw = f"{row.saw}; {note}" if row.saw else note
    row.want(page.caller == caller, caller)
    return page


def router_wan(family):
    """Whom a server sees when the kernel forwards."""
    return home.wan(family, home.ROUTER_WAN)


def proxy_out(family):
    """Whom a server sees when the proxy connects."""
    return home.srv(family, home.SOCKS_OUT)


@claim("direct by address", home.FAMILIES)
def direct_by_address(lab, row, family):
    row.did = "GET where no rule matches"
    host = home.srv(family, home.PLAIN)
    page = fetch(lab, row, host, router_wan(family))
    row.want(lab.forwarded(family, host, page.port), "the client's own flow in conntrack")


@claim("direct by domain", home.FAMILIES)
def direct_by_domain(lab, row, family):
    row.did = "GET inside a proxied prefix, by address, then by name"
    host = home.srv(family, home.DIRECT_BY_NAME)
    fetch(lab, row, host, proxy_out(family))
    page = fetch(lab, row, "direct.example", router_wan(family), family=family)
    row.want(lab.forwarded(family, host, page.port), "the client's own flow in conntrack")


@claim("proxied by domain", home.FAMILIES)
def proxied_by_domain(lab, row, family):
    row.did = "GET by address, then by name"
    fetch(lab, row, home.srv(family, home.BY_NAME), router_wan(family))
    fetch(lab, row, "proxied.example", proxy_out(family), family=family)


@claim("proxied by prefix", home.FAMILIES)
def proxied_by_prefix(lab, row, family):
    row.did = "GET inside the prefix"
    host = home.srv(family, home.BY_PREFIX)
    before = lab.daemon.counter("by-prefix")
    page = fetch(lab, row, host, proxy_out(family))
    row.want(not lab.forwarded(family, host, page.port), "no forwarded flow in conntrack")
    counted = lab.daemon.counter("by-prefix") - before
    row.saw += f"; rule by-prefix counted {counted} packets"
    row.want(counted > 0, "the rule's counter to move")


@claim("proxied by source MAC", home.FAMILIES)
def proxied_by_mac(lab, row, family):
    row.did = "the TV and the laptop GET the same page"
    host = home.srv(family, home.PLAIN)
    fetch(lab, row, host, proxy_out(family), source=home.lan(family, home.TV))
    fetch(lab, row, host, router_wan(family), source=home.lan(family, home.LAPTOP))


@claim("proxied with a password", home.FAMILIES)
def proxied_with_password(lab, row, family):
    row.did = "GET through the node with a login"
    fetch(lab, row, home.srv(family, home.BY_LOGIN), proxy_out(family))


@claim("rules with !", home.FAMILIES)
def negated(lab, row, family):
    row.did = "GET next to and at the address behind the !"
    fetch(lab, row, home.srv(family, home.OTHER_BY_PREFIX), proxy_out(family))
    fetch(lab, row, home.srv(family, home.NOT_IN_PREFIX), router_wan(family))


@claim("direct with a mark", home.FAMILIES)
def marked(lab, row, family):
    row.did = "GET where the rule sets mark 0x10"
    before = lab.marked_packets()
    fetch(lab, row, home.srv(family, home.MARKED), router_wan(family))
    counted = lab.marked_packets() - before
    row.saw += f"; the router's firewall counted {counted} marked packets"
    row.want(counted >= 4, "every packet of the flow marked")


@claim("100 MB through the proxy", home.FAMILIES)
def download(lab, row, family):
    host = home.srv(family, home.BY_PREFIX)
    row.did = f"GET {url(host, '/big')}"
    digest, seconds = lab.client.download(host)
    caller = lab.web.downloaders[-1]
    row.saw = f"server saw {caller}, SHA-256 {digest[:12]}..., {seconds:.1f} s"
    row.want(caller == proxy_out(family), proxy_out(family))
    row.want(digest == lab.web.digest, f"{lab.web.digest[:12]}...")


@claim("iperf3 through the proxy: there, back, datagrams")
def iperf3(lab, row):
    host = home.srv(4, home.BY_PREFIX)
    row.did = f"iperf3 to {host}, a second each"
    for what, options in (("there", []), ("back", ["-R"]), ("datagrams", ["-u", "-b", "50M"])):
        done = lab.client.run("iperf3", "-J", "-c", host, "-p", str(home.IPERF_PORT), "-t", "1",
                              *options)
        report = json.loads(done.stdout)
        row.want("error" not in report, f"no error of iperf3, not {report.get('error')}")
        end = report["end"]
        arrived = end.get("sum_received") or end["sum"]
        row.saw += f"{what} {arrived['bits_per_second'] / 1e6:,.0f} Mbit/s "
        row.want(arrived["bytes"] > 1_000_000, "a megabyte at least")
        if what == "datagrams":
            row.saw += f"{arrived['lost_percent']:.1f} % lost"
            row.want(arrived["lost_percent"] < 5, "next to none lost")


@claim("half-close through the proxy", home.FAMILIES)
def half_close(lab, row, family):
    host, said = home.srv(family, home.BY_PREFIX), b"0123456789abcdef" * 4096
    row.did = f"{len(said)} bytes to {host}, no more to say, and listen"
    with lab.client.socket(socket.SOCK_STREAM, family) as connection:
        connection.connect((host, home.ECHO_PORT))
        row.want(not lab.forwarded(family, host, connection.getsockname()[1]),
                 "no forwarded flow in conntrack")
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        heard = _read_to_end(connection)
    row.saw = f"{len(heard)} bytes back, then the end"
    row.want(heard == said, "the same bytes")


@claim("a client's port used again while ours is in TIME_WAIT", home.FAMILIES)
def port_reuse(lab, row, family):
    host, port = home.srv(family, home.BY_PREFIX), 45000 + family
    row.did = f"GET {url(host)} three times from port {port}"
    took = []
    for attempt in range(3):
        if attempt:
            left = net.wait_for(lambda: f":{port}" in lab.sockets("time-wait"), 1)
            row.want(left, f"a TIME_WAIT socket of ours for port {port}")
        began = time.monotonic()
        with lab.client.socket(socket.SOCK_STREAM, family, port=port) as connection:
            connection.connect((host, home.WEB_PORT))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            reply = _read_to_end(connection)
        took.append(f"{(time.monotonic() - began) * 1000:.0f} ms")
        row.want(proxy_out(family).encode() in reply, "the page, through the proxy")
    row.saw = "through after " + ", ".join(took)


def _read_to_end(connection):
    reply = b""
    while more := connection.recv(4096):
        reply += more
    return reply
