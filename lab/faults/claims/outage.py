"""Upstreams that go away and come back, and a wire that loses packets. Each claim alone."""

import contextlib

from lab.faults import asker, expect, plan
from lab.tour import claim

plan.chapter(__name__)

PACE = 0.02  # seconds between queries while the upstream is away


def outage(world, row, upstream, bar=0.1):
    """Queries all the time; how long after the return the first good answer came, in seconds."""
    seconds = 30 if world.long else 5
    row.did = f"{plan.UPSTREAMS[upstream].url.partition(':')[0]}://, {seconds} s away"
    expect.answered(row, plan.fresh(upstream))
    port = plan.UPSTREAMS[upstream].port
    elements = [f"{protocol} . {port}" for protocol in ("tcp", "udp")]
    world.set_fault("add", "silent", *elements)
    try:
        # Not more than the daemon takes from one client: each waits for up to 4.25 s.
        before = asker.Volley(expect.names(upstream, seconds * 10), seconds, wait=0).over_udp()
    finally:
        back = world.set_fault("delete", "silent", *elements)
    row.want(not asker.good(before), "nothing while it is away")
    after = asker.Volley(expect.names(upstream, 50), 50 * PACE, wait=2).over_udp()
    good = asker.good(after)
    row.saw += f"; {len(good)} of {len(after)} answered after the return"
    row.want(good, "answers")
    first = min(each.sent + each.ms / 1000 for each in good)
    row.saw += f", the first {(first - back) * 1000:.0f} ms after it"
    row.want(first - back <= bar, f"{bar * 1000:.0f} ms at most")
    lost = [each for each in after if each.ms is None]
    row.want(len(lost) == 0, "all to be answered")


AWAY_U = plan.upstream("away-u", "udp", udp="good")
AWAY_T = plan.upstream("away-t", "tcp", tcp="good")
AWAY_B = plan.upstream("away-b", "tcp+udp", udp="good", tcp="good")


@claim("outage and return, UDP: first good answer within 0.1 s", together=True)
def by_udp(world, row):
    outage(world, row, AWAY_U)


@claim("outage and return, TCP: first good answer within 0.1 s", together=True)
def by_tcp(world, row):
    outage(world, row, AWAY_T)


@claim("outage and return, UDP and TCP: first good answer within 0.1 s", together=True)
def by_both(world, row):
    outage(world, row, AWAY_B)


AWAY_S = plan.upstream("away-s", "tls", tls="good")
AWAY_H = plan.upstream("away-h", "https", https="good")


@claim("outage and return, TLS: first good answer within 0.3 s, with the handshake", together=True)
def by_tls(world, row):
    outage(world, row, AWAY_S, 0.3)


@claim("outage and return, HTTPS: first good answer within 0.3 s, with the handshake", together=True)
def by_https(world, row):
    outage(world, row, AWAY_H, 0.3)


LOSSY_U = plan.upstream("lossy-u", "udp", udp="delay 20")
LOSSY_B = plan.upstream("lossy-b", "tcp+udp", udp="delay 20", tcp="delay 20")
LOSSY_W = plan.upstream("lossy-w", "tcp+udp", udp="delay 20", tcp="delay 20")
QUERIES, BAR = 400, 236


def loss(world, row, upstream, kinds, p99):
    """400 queries in 4 s; 20 % of the packets get lost at random, 20 ms away."""
    row.did = f"{QUERIES} queries, 100 a second"
    asker.Volley(expect.names(upstream, 5)).over_udp()
    port = plan.UPSTREAMS[upstream].port
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(world.faults(kind, port))
        told = asker.Volley(expect.names(upstream, QUERIES), QUERIES / 100).over_udp()
    slowest = sorted((each.ms or float("inf") for each in told), reverse=True)[:3]
    row.saw = f"slowest {', '.join(f'{each:.0f}' for each in slowest)} ms"
    expect.all_answered(row, told, p99)


@claim("20 % of the queries lost, UDP: none of 400 fails, p99 within 236 ms", together=True)
def loss_udp(world, row):
    loss(world, row, LOSSY_U, ["lossy"], BAR)


@claim("20 % of the queries lost, UDP and TCP: none of 400 fails, p99 within 236 ms",
       together=True)
def loss_both(world, row):
    loss(world, row, LOSSY_B, ["lossy"], BAR)


@claim("20 % lost each way, UDP and TCP: none of 400 fails, p99 within 1 s", together=True)
def loss_each_way(world, row):
    loss(world, row, LOSSY_W, ["lossy", "lossy_answers"], 1000)


SAME = plan.upstream("same", "udp", udp="delay 60")


@claim("100 identical queries: one query upstream", together=True)
def identical(world, row):
    row.did = "udp://, 100 at once, the answer after 60 ms"
    name = plan.fresh(SAME)
    told = asker.Volley([name.title() if at % 2 else name for at in range(100)]).over_udp()
    expect.all_answered(row, told)
    asked = world.faulty.asked(name)
    row.saw += f"; upstream saw {len(asked)}"
    row.want(len(asked) == 1, "one")
