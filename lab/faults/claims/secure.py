"""One upstream by TLS or HTTPS: what the handshake, the certificate and the server can do."""

from lab.faults import asker, expect, message, plan
from lab.tour import claim

plan.chapter(__name__)

BLOCK = 128  # RFC 8467: queries are padded to a multiple of this


def tls(name, mode="good", **more):
    """An upstream by TLS."""
    return plan.upstream(f"tls-{name}", "tls", tls=mode, **more)


def https(name, mode="good", **more):
    """An upstream by HTTPS."""
    return plan.upstream(f"https-{name}", "https", https=mode, **more)


def both(name, mode="good", **more):
    """The same for either."""
    return tls(name, mode, **more), https(name, mode, **more)


GOOD = both("good")


@claim("TLS and HTTPS: the answer, and queries padded to 128 bytes", together=True)
def good(world, row):
    row.did = "tls://, https://"
    for upstream in GOOD:
        name = plan.fresh(upstream)
        expect.answered(row, name, within=250)
        expect.answered(row, plan.fresh(upstream))
        lengths = [each["length"] for each in world.faulty.asked(name)]
        row.saw += f", query of {lengths} bytes"
        row.want(lengths == [BLOCK], f"one query of {BLOCK} bytes")


@claim("TLS and HTTPS: 300 queries at once, at most 4 connections")
def many(world, row):
    row.did = "tls://, https://, from 100 clients"
    for upstream in GOOD:
        told = asker.Volley(expect.names(upstream, 300), sources=asker.CROWD).over_udp()
        expect.all_answered(row, told, p99=1000)
        most = world.faulty.see(upstream)["most"]
        row.saw += f", {most} connections"
        row.want(most <= 4, "4 at most")


HANG, PLAIN, CLOSED, RESET = (both(kind.replace("_", "-"), kind) for kind in (
    "hang", "plain", "close_early", "reset_early"))
SILENT, HALF, RESET_LATER = (both(kind, kind) for kind in ("silent", "half", "reset"))
REFUSED = (tls("refused", "closed"), https("refused", "closed"))
BLACK = both("black")


@claim("TLS handshake that hangs: SERVFAIL by the deadline", together=True)
def hang(_world, row):
    row.did = "tls://, https://"
    expect.each_gives_up(row, HANG, expect.STREAM_ENDS)


@claim("TLS and HTTPS into a black hole: SERVFAIL by the deadline", together=True)
def black(world, row):
    row.did = "tls://, https://"
    for upstream in BLACK:
        with world.silent(upstream):
            expect.gives_up(row, plan.fresh(upstream), expect.STREAM_ENDS)


@claim("TLS and HTTPS that take the query and are silent: SERVFAIL by the deadline", together=True)
def silent(_world, row):
    row.did = "tls://, https://"
    expect.each_gives_up(row, SILENT, expect.STREAM_ENDS)


@claim("no TLS there, closed, reset, refused, half an answer: SERVFAIL at once", together=True)
def broken(_world, row):
    row.did = "tls://, https:// each"
    for pair in (PLAIN, CLOSED, RESET, REFUSED, RESET_LATER, HALF):
        expect.each_refusal(row, pair, within=500)


OLD, TOO_OLD = both("old", "tls12"), both("too-old", "tls11")


@claim("TLS 1.2: the answer; TLS 1.1: SERVFAIL at once", together=True)
def versions(_world, row):
    row.did = "tls://, https://"
    expect.each_answered(row, OLD, within=250)
    expect.each_refusal(row, TOO_OLD, within=500)


SERVFAIL, REFUSES = both("servfail", "servfail"), both("refuses", "refused")


@claim("SERVFAIL and REFUSED over TLS and HTTPS: the same", together=True)
def codes(_world, row):
    row.did = "tls://, https://"
    expect.each_refusal(row, SERVFAIL, within=250)
    expect.each_refusal(row, REFUSES, message.REFUSED, within=250)


EACH = both("each", "each")


@claim("TLS and HTTPS closed after each answer, 100 pipelined: 100 answered, sessions resumed")
def each(world, row):
    row.did = "tls://, https://, 100 by UDP"
    for upstream in EACH:
        expect.all_answered(row, asker.Volley(expect.names(upstream, 100)).over_udp())
        state = world.faulty.see(upstream)
        row.saw += f", {state['opened']} connections, {state['resumed']} resumed"
        row.want(state["resumed"] >= state["opened"] / 2, "half of them resumed")


REORDER = tls("reorder", "reorder 20")
SLOW = tls("slow", "slow 1000")
FORGOTTEN = both("forgotten")


@claim("TLS answers out of order, and byte by byte", together=True)
def order(_world, row):
    row.did = "tls://, 100 at once, last first; then one that takes 1 s"
    expect.all_answered(row, asker.Volley(expect.names(REORDER, 100)).over_udp(), p99=500)
    expect.answered(row, plan.fresh(SLOW), within=1000 + expect.SLACK, after=900)


@claim("TLS and HTTPS connection that somebody on the way forgot: answered by a new one",
       together=True)
def forgotten(world, row):
    row.did = "tls://, https://"
    for upstream in FORGOTTEN:
        name = plan.fresh(upstream)
        expect.answered(row, name, within=250)
        with world.faults("forgotten", world.faulty.asked(name)[0]["port"]):
            expect.answered(row, plan.fresh(upstream), within=1000)
            expect.answered(row, plan.fresh(upstream))


HTTP = {mode: https(mode.replace(" ", "-"), mode)
        for mode in ("status 500", "status 404", "text", "long", "empty", "cancel")}
GOAWAY, MUTE = https("goaway", "goaway"), https("mute", "mute")


@claim("HTTPS status 500 and 404, wrong type, too long, empty, cancelled: SERVFAIL at once",
       together=True)
def http(_world, row):
    row.did = ", ".join(HTTP)
    expect.each_refusal(row, HTTP.values(), within=500)


@claim("HTTPS that goes away instead of answering, or says nothing at all: SERVFAIL in time",
       together=True)
def goaway(_world, row):
    row.did = "GOAWAY to each query; TLS and then not even SETTINGS"
    expect.refusal(row, plan.fresh(GOAWAY), within=expect.STREAM_ENDS + expect.SLACK)
    expect.gives_up(row, plan.fresh(MUTE), expect.STREAM_ENDS)
