"""One upstream, faults of TCP: alone, and behind a UDP that says nothing."""

from lab.faults import asker, expect, message, plan
from lab.tour import claim

plan.chapter(__name__)


def stream(name, tcp):
    """`tcp://`, and `tcp+udp://` with a silent UDP."""
    return (plan.upstream(f"{name}-t", "tcp", tcp=tcp),
            plan.upstream(f"{name}-s", "tcp+udp", udp="silent", tcp=tcp))


def _at_once(text, name, tcp):
    alone, behind = stream(name, tcp)

    @claim(f"TCP {text}: SERVFAIL at once", together=True)
    def _check(_world, row):
        row.did = "tcp://, then tcp+udp:// with UDP silent"
        expect.refusal(row, plan.fresh(alone), within=250)
        expect.gives_up(row, plan.fresh(behind))


_at_once("refused", "tcp-refused", "closed")
_at_once("reset after the query", "tcp-reset", "reset")
_at_once("reset when accepted", "tcp-reset-early", "reset_early")
_at_once("closed in the middle of an answer", "tcp-half", "half")
_at_once("answer cut in the middle of a record", "tcp-broken", "broken")
_at_once("with a message of no length", "tcp-zero", "zero")
_at_once("with a wrong question", "tcp-wrong-question", "wrong_question")


def fails_in_time(row, alone, behind):
    """SERVFAIL by the deadline of each transport."""
    row.did = "tcp://, then tcp+udp:// with UDP silent"
    expect.gives_up(row, plan.fresh(alone), expect.STREAM_ENDS)
    expect.gives_up(row, plan.fresh(behind))


def _in_time(text, name, tcp):
    alone, behind = stream(name, tcp)

    @claim(f"TCP {text}: SERVFAIL by the deadline", together=True)
    def _check(_world, row):
        fails_in_time(row, alone, behind)


_in_time("accepted and silent", "tcp-silent", "silent")
_in_time("accepted and not read", "tcp-deaf", "deaf")
_in_time("with a length and nothing behind it", "tcp-huge", "huge")

BLACK_T, BLACK_S = stream("tcp-black", "good")
WRONG_ID_T, WRONG_ID_S = stream("tcp-wrong-id", "wrong_id")
GARBAGE_T, GARBAGE_S = stream("tcp-garbage", "garbage")


@claim("TCP into a black hole: SERVFAIL by the deadline", together=True)
def black(world, row):
    with world.silent(BLACK_T), world.silent(BLACK_S):
        fails_in_time(row, BLACK_T, BLACK_S)


@claim("TCP with a wrong ID or garbage: SERVFAIL by the deadline at the latest", together=True)
def wrong_id(_world, row):
    row.did = "wrong ID, then garbage; tcp://, then tcp+udp:// with UDP silent"
    for alone, behind in ((WRONG_ID_T, WRONG_ID_S), (GARBAGE_T, GARBAGE_S)):
        expect.refusal(row, plan.fresh(alone), within=expect.STREAM_ENDS + expect.SLACK)
        expect.gives_up(row, plan.fresh(behind))


HALF_ONCE_T, HALF_ONCE_S = stream("tcp-half-once", "half 1")


@claim("TCP closed once in the middle of an answer: the answer from a new connection",
       together=True)
def half_once(_world, row):
    row.did = "tcp://, then tcp+udp:// with UDP silent"
    expect.answered(row, plan.fresh(HALF_ONCE_T))
    expect.answered(row, plan.fresh(HALF_ONCE_S), within=1000)


SLOW = plan.upstream("tcp-slow", "tcp", tcp="slow 1000")
REORDER = plan.upstream("tcp-reorder", "tcp", tcp="reorder 20")


@claim("TCP answer byte by byte within 1 s: the answer", together=True)
def slow(_world, row):
    row.did = "tcp://"
    told = asker.Volley(expect.names(SLOW, 1)).over_udp()
    expect.all_answered(row, told, p99=1000 + expect.SLACK)
    row.want(told[0].ms >= 900, "it no earlier than that")


@claim("TCP answers out of order: each to its own client", together=True)
def reorder(world, row):
    row.did = "tcp://, 100 queries at once, answered in groups, last first"
    expect.all_answered(row, asker.Volley(expect.names(REORDER, 100)).over_udp(), p99=500)
    row.saw += f", {world.faulty.see(REORDER)['opened']} connections"


SERVFAIL_T = plan.upstream("tcp-servfail", "tcp", tcp="servfail")
REFUSES_T = plan.upstream("tcp-refuses", "tcp", tcp="refused")


@claim("SERVFAIL and REFUSED of the only upstream over TCP: the same, at once", together=True)
def codes(_world, row):
    row.did = "tcp://"
    expect.refusal(row, plan.fresh(SERVFAIL_T))
    expect.refusal(row, plan.fresh(REFUSES_T), message.REFUSED)


EACH = plan.upstream("tcp-each", "tcp", tcp="each")
EACH_HARD = plan.upstream("tcp-each-hard", "tcp", tcp="each_hard")


@claim("TCP closed after each answer, 100 pipelined: 100 answered", together=True)
def each(world, row):
    row.did = "tcp://, 100 by UDP and 100 by one TCP connection"
    expect.all_answered(row, asker.Volley(expect.names(EACH, 100)).over_udp())
    expect.all_answered(row, asker.Volley(expect.names(EACH, 100)).over_tcp())
    state = world.faulty.see(EACH)
    row.saw += f"; {state['opened']} connections, {state['most']} at a time at most"


@claim("TCP reset after each answer, 100 pipelined: 100 answered", together=True)
def each_hard(world, row):
    row.did = "tcp://, 100 by UDP"
    expect.all_answered(row, asker.Volley(expect.names(EACH_HARD, 100)).over_udp())
    state = world.faulty.see(EACH_HARD)
    row.saw += f"; {state['opened']} connections, {state['most']} at a time at most"


FORGOTTEN = plan.upstream("tcp-forgotten", "tcp", tcp="good")


@claim("TCP connection that somebody on the way forgot: answered by a new one", together=True)
def forgotten(world, row):
    row.did = "tcp://, the packets of the open connection are lost from now on"
    name = plan.fresh(FORGOTTEN)
    expect.answered(row, name)
    port = world.faulty.asked(name)[0]["port"]
    with world.faults("forgotten", port):
        expect.answered(row, plan.fresh(FORGOTTEN), within=1000)
        expect.answered(row, plan.fresh(FORGOTTEN))


MANY = plan.upstream("tcp-many", "tcp", tcp="delay 200")


@claim("TCP with 300 queries waiting: at most 4 connections")
def many(world, row):
    row.did = "tcp://, from 100 clients at once, answered after 200 ms"
    told = asker.Volley(expect.names(MANY, 300), sources=asker.CROWD).over_udp()
    expect.all_answered(row, told)
    most = world.faulty.see(MANY)["most"]
    row.saw += f"; {most} connections at a time"
    row.want(most <= 4, "4 at most")
