"""More than it can take: floods, noisy and slow clients. Each claim alone, with a daemon that
has seen nothing before, so that its memory is that of a router after the start."""

import concurrent.futures
import contextlib
import socket
import struct
import time

from lab import home, net
from lab.faults import asker, expect, message, plan
from lab.faults.asker import CROWD
from lab.tour import claim

plan.chapter(__name__)

# The defaults: what one upstream can have of the 512 places, and one client.
MAX_UPSTREAM_QUERIES, MAX_CLIENT_QUERIES = 384, 128

HOLE_U = plan.upstream("hole-u", "udp", udp="silent")
HOLE_B = plan.upstream("hole-b", "tcp+udp", udp="silent", tcp="silent")
FINE = plan.upstream("fine", "udp", udp="good")


def settled(world):
    """A new daemon, asked a little, and its memory in kB."""
    world.restart()
    for _ in range(3):
        asker.Volley(expect.names(FINE, 50)).over_udp()
    return world.memory()


def flood(world, row, hole, seconds=1.0, count=10_000):
    """Unique names in one second into a black hole, from 100 clients."""
    row.did = f"{count} unique names in {seconds:.0f} s from {len(CROWD)} clients"
    before = settled(world)
    told = asker.Volley(expect.names(hole, count), seconds, CROWD, wait=4.25 + 0.5).over_udp()
    grown = world.peak() - before
    refused, failed = (asker.coded(told, code) for code in (message.REFUSED, message.SERVFAIL))
    lost = len(told) - len(refused) - len(failed)
    slowest = max((each.ms for each in refused), default=0)
    last = max((each.ms for each in failed), default=0)
    row.saw = (f"{len(refused)} REFUSED, p99 {asker.percentile(refused or told, 0.99):.0f} ms, "
               f"slowest {slowest:.0f} ms; {len(failed)} SERVFAIL, the last after {last:.0f} ms; "
               f"{lost} without answer; {grown:+} kB")
    row.want(lost == 0, "none without an answer")
    taken = MAX_UPSTREAM_QUERIES
    row.want(taken <= len(failed) <= taken * 1.1, f"{taken} taken")
    row.want(asker.percentile(refused, 0.99) <= expect.AT_ONCE, "REFUSED at once")
    row.want(last <= expect.UDP_ENDS + expect.SLACK, f"SERVFAIL by {expect.UDP_ENDS} ms")
    row.want(grown <= 1024, "1 MB more at most")


@claim("10,000 names in 1 s into a black hole, UDP")
def flood_udp(world, row):
    flood(world, row, HOLE_U)


@claim("10,000 names in 1 s into a black hole, UDP and TCP")
def flood_both(world, row):
    flood(world, row, HOLE_B)


@claim("after 10,000 names into a black hole: answers within 0.1 s of its return")
def recovery(world, row):
    row.did = "the upstream returns 2 s after the flood began"
    settled(world)
    world.faulty.set(HOLE_U, udp="silent")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        names = expect.names(HOLE_U, 10_000)
        waiting = pool.submit(asker.Volley(names, 1.0, CROWD, wait=4).over_udp)
        time.sleep(2)
        full = asker.ask(plan.fresh(HOLE_U))
        row.saw = f"full: {asker.words(full)}"
        row.want(full.reply and full.reply.rcode == message.REFUSED, "REFUSED while it is full")
        try:
            world.faulty.set(HOLE_U, udp="good")
            back = time.monotonic()
            new = asker.Volley(expect.names(HOLE_U, 50), 1.0, wait=3).over_udp()
        finally:
            world.faulty.set(HOLE_U, udp="silent")
        old = waiting.result()
    for text, told in (("of those who wait", old), ("of new ones", new)):
        good = asker.good(told)
        row.want(good, f"answers {text}")
        first = min(each.sent + each.ms / 1000 for each in good) - back
        row.saw += f"; {len(good)} {text}, the first {first * 1000:.0f} ms after the return"
        # The new ones stand behind all that wait, which a program in Python answers.
        bar = 0.1 if told is old else 0.2
        row.want(first <= bar, f"{bar * 1000:.0f} ms at most")


@claim("a flood into a black hole: other upstreams and the cache answer")
def others_meanwhile(world, row):
    row.did = "100 names of a good upstream, 100 of the cache, while 10,000 go into the hole"
    settled(world)
    cached = plan.fresh(FINE)
    asker.ask(cached)
    fresh = expect.names(FINE, 100)
    mixed = []
    for at, name in enumerate(expect.names(HOLE_U, 10_000)):
        mixed.append(name)
        if at % 100 == 50:
            mixed += [cached, fresh[at // 100]]
    told = asker.Volley(mixed, 1.0, CROWD, wait=1).over_udp()
    hits = [each for each in told if each.name == cached]
    others = [each for each in told if each.name in fresh]
    row.saw = "cache"
    expect.all_answered(row, hits, p99=expect.AT_ONCE)
    row.saw += "; good upstream"
    expect.all_answered(row, others, p99=expect.AT_ONCE)


@claim("one noisy client: the others are answered")
def noisy(world, row):
    row.did = "5,000 names into a black hole from one client, 100 good ones from another"
    settled(world)
    good = expect.names(FINE, 100)
    names = [good[at // 50] if at % 50 == 0 else plan.fresh(HOLE_U) for at in range(5000)]
    sources = [CROWD[0]] * 49
    told = asker.Volley(names, 1.0, [CROWD[1], *sources], wait=4.25 + 0.5).over_udp()
    quiet, loud = told[::50], [each for at, each in enumerate(told) if at % 50]
    taken = len(asker.coded(loud, message.SERVFAIL))
    row.saw = (f"{taken} of the noisy one taken, "
               f"{len(asker.coded(loud, message.REFUSED))} REFUSED; the other: "
               f"{len(asker.good(quiet))} of {len(quiet)}, p99 {asker.percentile(quiet, 0.99):.0f} ms")
    row.want(len(asker.good(quiet)) == len(quiet), "all of the other")
    row.want(asker.percentile(quiet, 0.99) <= expect.AT_ONCE, "them at once")
    row.want(1 <= taken <= MAX_CLIENT_QUERIES, f"{MAX_CLIENT_QUERIES} of the noisy one at most")


def half_query(connection):
    """A length and half a query."""
    query = message.query(plan.fresh(FINE))
    connection.send(struct.pack("!H", len(query)) + query[:len(query) // 2])


def unread(connection):
    """A query whose answer will not be read."""
    query = message.query(plan.fresh(FINE))
    connection.send((struct.pack("!H", len(query)) + query) * 20)


def nothing(_connection):
    """Not a byte."""


def stubborn(over):
    """One query; a connection that is refused or ends is an answer that never came."""
    name = plan.fresh(FINE)
    try:
        return asker.ask(name, wait=2, over=over)
    except OSError:
        return asker.Told(name, 0, None, None)


@claim("1,500 slow TCP clients: others are answered, memory is flat")
def slow_clients(world, row):
    row.did = "1,500 connections: half a query, unread answers, nothing; 50 others meanwhile"
    before = settled(world)
    began, opened, kept = time.monotonic(), 0, []
    with contextlib.ExitStack() as stack:
        ways = (half_query, unread, nothing)
        worst, others = 0.0, []
        for at in range(1500):
            with contextlib.suppress(OSError):
                connection = asker.tcp(CROWD[at % len(CROWD)])
                kept.append(stack.enter_context(connection))
                opened += 1
            if at % 30 == 29:
                for number, each in enumerate(kept[-30:]):
                    with contextlib.suppress(OSError):
                        ways[number % 3](each)
                others += [stubborn("udp"), stubborn("tcp")]
                row.want(asker.good(others[-2:]) == others[-2:], f"others after {opened} answered")
        worst = asker.percentile(others, 0.99)
        grown = world.peak() - before
    row.saw = (f"{opened} opened in {time.monotonic() - began:.1f} s; others: "
               f"{len(asker.good(others))} of {len(others)}, p99 {worst:.0f} ms; {grown:+} kB")
    row.want(opened >= 1400, "them to be there")
    row.want(worst <= expect.AT_ONCE, "them at once")
    row.want(grown <= 1024, "1 MB more at most")



def closed_after(connection, seconds):
    """When the daemon ended a connection that says no more; None if it did not in time."""
    began = time.monotonic()
    connection.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return time.monotonic() - began
    return None


@claim("TCP client that sends a byte a second: closed after 5 s", together=True)
def trickles(_world, row):
    row.did = "a query, a byte a second"
    query = message.query(plan.fresh(FINE))
    began = time.monotonic()
    with asker.tcp() as slow:
        for byte in struct.pack("!H", len(query)) + query:
            slow.send(bytes([byte]))
            if closed_after(slow, 1) is not None:
                break
            row.want(time.monotonic() - began <= 9, "it to be closed")
    row.saw = f"closed after {time.monotonic() - began:.1f} s"
    row.want(time.monotonic() - began >= 4, "it to have some time")


@claim("TCP client that reads no answers: closed after 5 s", together=True)
def reads_nothing(world, row):
    row.did = "queries for a cached name, as many as it takes"
    name = plan.fresh(FINE)
    asker.ask(name)
    query = message.query(name)
    before, began = world.memory(), time.monotonic()
    with asker.tcp() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.settimeout(8)
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while time.monotonic() - began < 8:
                greedy.sendall((struct.pack("!H", len(query)) + query) * 100)
                sent += 100
        port = greedy.getsockname()[1]
        left = net.run(home.ROUTER, "ss", "-Hnt", "dport", "=", f":{port}").split()
    seconds, grown = time.monotonic() - began, world.peak() - before
    row.saw = f"{sent} sent, closed after {seconds:.1f} s, {grown:+} kB"
    row.want(not left, f"nothing of it to be left, not {' '.join(left[:3])}")
    row.want(seconds < 8, "it to be closed")
    row.want(grown <= 512, "512 kB more at most")


@claim("TCP clients that say nothing, or half a query: closed after 10 s and 5 s", together=True)
def closes_slow_clients(_world, row):
    row.did = "half a query, then nothing"
    with asker.tcp() as half, asker.tcp() as silent:
        half_query(half)
        first = closed_after(half, 8)
        rest = closed_after(silent, 10)
    row.saw = f"closed after {first or -1:.1f} s, and {(first or 0) + (rest or -99):.1f} s"
    row.want(first and 4 <= first <= 7, "5 s")
    row.want(rest and 9 <= first + rest <= 12, "10 s")


@claim("through all of this the daemon has not ended by itself")
def alive(world, row):
    row.did = "all chapters, and 3 s more"
    time.sleep(3)
    world.restart()
    row.saw = f"ended in {', '.join(world.crashes)}" if world.crashes else "never"
    row.want(not world.crashes, "it to live")
