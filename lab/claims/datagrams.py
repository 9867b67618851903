"""UDP: echo, order, full cone, QUIC, and the blocked port."""

import contextlib
import json
import socket
import time

from lab import home, peers
from lab.claims.flows import proxy_out, router_wan
from lab.net import NoAnswer
from lab.tour import claim

COUNT, WINDOW = 1000, 16


@claim("UDP direct", home.FAMILIES)
def udp_direct(lab, row, family):
    host = home.srv(family, home.PLAIN)
    row.did = f"datagram to {host} port {home.ECHO_PORT}"
    caller, ms = lab.client.echo(host, home.ECHO_PORT)
    row.saw = f"server saw {caller}, {ms:.1f} ms"
    row.want(caller == router_wan(family), router_wan(family))


@claim("UDP echo through the proxy", home.FAMILIES)
def udp_proxied(lab, row, family):
    for number in (home.BY_PREFIX, home.BY_LOGIN):
        host = home.srv(family, number)
        row.did += f"datagram to {host} port {home.ECHO_PORT} "
        caller, ms = lab.client.echo(host, home.ECHO_PORT)
        row.saw += f"server saw {caller}, {ms:.1f} ms "
        row.want(caller == proxy_out(family), proxy_out(family))


@claim("1,000 datagrams through the proxy in order", home.FAMILIES)
def udp_order(lab, row, family):
    host = home.srv(family, home.BY_PREFIX)
    tag = f"order{family}-{time.monotonic_ns()}-".encode()
    row.did = f"numbered datagrams to {host}, at most {WINDOW} under way"
    began = time.monotonic()
    with lab.client.socket(socket.SOCK_DGRAM, family) as sending:
        back = []
        for number in range(COUNT):
            sending.sendto(tag + b"%d" % number, (host, home.ECHO_PORT))
            if number - len(back) >= WINDOW:
                back.append(_number(sending.recv(2048)))
        with contextlib.suppress(TimeoutError):
            while len(back) < COUNT:
                back.append(_number(sending.recv(2048)))
    seen = [each for each in list(lab.echo.seen) if each[2].startswith(tag)]
    there = [_number(data) for _, _, data in seen]
    row.saw = (f"server saw {seen[0][0]}, got {len(there)}; client got {len(back)}, "
               f"{(time.monotonic() - began) * 1000:.0f} ms")
    row.want(seen[0][0] == proxy_out(family), proxy_out(family))
    row.want(there == list(range(COUNT)), "0 to 999 in order at the server")
    row.want(back == list(range(COUNT)), "0 to 999 in order at the client")


def _number(data):
    return int(data.rsplit(b"-", 1)[1])


@claim("full cone through the proxy", home.FAMILIES)
def full_cone(lab, row, family):
    first, second = home.srv(family, home.BY_PREFIX), home.srv(family, home.OTHER_BY_PREFIX)
    stranger = home.srv(family, home.PLAIN)
    row.did = f"one socket to {first} and {second}, then {stranger} sends to what they saw"
    with lab.client.socket(socket.SOCK_DGRAM, family) as talking:
        outside = [_outside(talking, host) for host in (first, second)]
        row.want(outside[0] == outside[1], f"one address outside, not {outside}")
        lab.echo.sockets[stranger, home.ECHO_PORT].sendto(b"knock", outside[0])
        data, sender = talking.recvfrom(2048)
    row.saw = f"outside {outside[0][0]} port {outside[0][1]}; {data.decode()} from {sender[0]}"
    row.want(data == b"knock" and sender[:2] == (stranger, home.ECHO_PORT), f"it from {stranger}")


def _outside(talking, host):
    talking.sendto(b"where am I", (host, home.ECHO_PORT))
    data, sender = talking.recvfrom(2048)
    if sender[:2] != (host, home.ECHO_PORT):
        raise NoAnswer(f"an answer of {sender[0]} instead of {host}")
    address, port = data.split()[:2]
    return address.decode(), int(port)


@claim("QUIC through the proxy", home.FAMILIES)
def quic(lab, row, family):
    host, length = home.srv(family, home.BY_PREFIX), 2_000_000
    row.did = f"a stream of {length:,} bytes to {host} and back"
    began = time.monotonic()
    done = lab.client.run(*peers.quic("client", host, str(home.QUIC_ECHO_PORT), str(length)))
    if done.returncode != 0:
        raise NoAnswer(done.stderr.strip().splitlines()[-1])
    said = json.loads(done.stdout)
    row.saw = (f"server saw {said['caller']}, {said['bytes']:,} bytes back, "
               f"{(time.monotonic() - began) * 1000:.0f} ms")
    row.want(said["caller"] == proxy_out(family), proxy_out(family))
    row.want(said["same"], "the same bytes")


@claim("UDP/443 blocked, counted", home.FAMILIES)
def blocked(lab, row, family):
    host = home.srv(family, home.PLAIN)
    row.did = f"datagram to {host} port {home.QUIC_PORT}"
    before, seen = lab.daemon.counter("no-quic"), len(lab.echo.seen)
    try:
        caller, _ms = lab.client.echo(host, home.QUIC_PORT, wait=0.5)
        row.saw = f"server saw {caller}"
        row.want(False, "no answer")
    except (TimeoutError, NoAnswer):
        row.saw = "no answer in 0.5 s"
    counted = lab.daemon.counter("no-quic") - before
    row.saw += f"; server got {len(lab.echo.seen) - seen}; rule no-quic counted {counted}"
    row.want(len(lab.echo.seen) == seen and counted == 1, "none at the server, 1 counted")
