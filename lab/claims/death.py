"""The daemon is killed with signal 9: the network goes on, at once. Then it comes back."""

import socket
import time

from lab import home
from lab.claims.flows import fetch, proxy_out, router_wan
from lab.claims.names import answered_by, public, router
from lab.tour import claim

SOON = 1.0  # seconds


@claim("kill -9: a new connection at once")
def killed(lab, row):
    row.did = "kill -9, then GET where a rule proxies; a direct connection goes on"
    with lab.client.socket(socket.SOCK_STREAM, 4) as connection:
        connection.connect((home.srv(4, home.PLAIN), home.ECHO_PORT))
        row.want(_parrot_answers(connection), "the parrot")
        fetch(lab, row, home.srv(4, home.BY_PREFIX), proxy_out(4))
        lab.daemon.kill()
        began = time.monotonic()
        fetch(lab, row, home.srv(4, home.BY_PREFIX), router_wan(4))
        row.want(time.monotonic() - began < SOON, f"it within {SOON:.0f} s")
        row.want(_parrot_answers(connection), "the direct connection to go on")


def _parrot_answers(connection):
    connection.sendall(b"hello")
    return connection.recv(100) == b"hello"


@claim("dead: connections go direct", home.FAMILIES)
def direct(lab, row, family):
    row.did = "GET by prefix, by name, by MAC"
    began = time.monotonic()
    fetch(lab, row, home.srv(family, home.BY_PREFIX), router_wan(family))
    fetch(lab, row, "proxied.example", router_wan(family), family=family)
    fetch(lab, row, home.srv(family, home.PLAIN), router_wan(family),
          source=home.lan(family, home.TV))
    row.want(time.monotonic() - began < SOON, f"all within {SOON:.0f} s")


@claim("dead: DNS is dnsmasq's, or whoever was asked", home.FAMILIES)
def names(lab, row, family):
    row.did = f"whoami.example of {router(family)} and of {public(family)}"
    for tcp in (False, True):
        answered_by(lab, row, router(family), "isp", tcp=tcp)
        answered_by(lab, row, public(family), "public", tcp=tcp)


@claim("dead: UDP goes direct, block rules block nothing", home.FAMILIES)
def datagrams(lab, row, family):
    row.did = "datagrams by prefix, and to port 443"
    for number, port in ((home.BY_PREFIX, home.ECHO_PORT), (home.PLAIN, home.QUIC_PORT)):
        host = home.srv(family, number)
        caller, ms = lab.client.echo(host, port)
        row.saw += f"{host} port {port} saw {caller}, {ms:.1f} ms; "
        row.want(caller == router_wan(family), router_wan(family))


@claim("dead: dae doctor says so, and what to do")
def doctor(lab, row):
    row.did = "dae doctor"
    done = lab.daemon.command("doctor")
    row.saw = "; ".join(line for line in done.stdout.splitlines() if not line.startswith("ok "))
    row.want(done.returncode == 1, "exit code 1")
    for words in ("was killed", "service dae restart", "dae clean", "takes the program"):
        row.want(words in done.stdout, f"'{words}' in: {done.stdout}")


@claim("restarted: proxied again, one program per device")
def restarted(lab, row):
    row.did = "dae run over the remains"
    seconds = lab.daemon.start()
    row.saw = f"up after {seconds * 1000:.0f} ms"
    for family in home.FAMILIES:
        fetch(lab, row, home.srv(family, home.BY_PREFIX), proxy_out(family))
        answered_by(lab, row, public(family), "main")
    programs = lab.programs()
    row.saw += f"; programs {programs}"
    row.want(len(programs) == 1, "one program")
