"""One upstream, faults of UDP: what the client sees and when, without and with TCP behind it."""

import collections

from lab.faults import asker, expect, message, plan
from lab.tour import claim

plan.chapter(__name__)


def both(name, udp, tcp="good"):
    """The same fault for `udp://` and for `tcp+udp://`."""
    return (plan.upstream(f"{name}-u", "udp", udp=udp),
            plan.upstream(f"{name}-b", "tcp+udp", udp=udp, tcp=tcp))


DROPPED_U, DROPPED_B = both("dropped", "silent")


@claim("UDP dropped, no TCP: SERVFAIL by the deadline", together=True)
def dropped(_world, row):
    row.did = "udp://, silent"
    expect.gives_up(row, plan.fresh(DROPPED_U))


@claim("UDP dropped, TCP works: first answer within 1 s, later ones within 0.1 s", together=True)
def dropped_with_tcp(_world, row):
    row.did = "tcp+udp://, UDP silent, 1 query and then 20"
    expect.answered(row, plan.fresh(DROPPED_B), within=1000)
    times = []
    for name in expect.names(DROPPED_B, 20):
        told = asker.ask(name)
        times.append(told.ms or float("inf"))
        if not told.reply or not told.reply.addresses or told.ms > 100:
            row.want(False, f"within 100 ms; number {len(times)} got {asker.words(told)}")
    row.saw += f", later {max(times):.0f} ms at most"


DELAYED_U, DELAYED_B = both("delayed", "delay 300")
LATE = plan.upstream("late-u", "udp", udp="delay 3000")


@claim("UDP 300 ms late: the answer to the first datagram is taken", together=True)
def delayed(world, row):
    row.did = "udp:// and tcp+udp://"
    for upstream in (DELAYED_U, DELAYED_B):
        name = plan.fresh(upstream)
        expect.answered(row, name, within=300 + expect.AT_ONCE, after=295)
        asked = world.faulty.asked(name, "udp")
        row.saw += f", asked {len(asked)} times"
        row.want(len(asked) >= 2, "a repetition meanwhile")


@claim("UDP 3 s late: still answered", together=True)
def late(_world, row):
    row.did = "udp://"
    expect.answered(row, plan.fresh(LATE), within=3000 + expect.AT_ONCE, after=2990)


TRUNCATED_U, TRUNCATED_B = both("truncated", "truncated")


@claim("UDP truncated, no TCP: the truncated answer at once", together=True)
def truncated(_world, row):
    row.did = "udp://"
    told = asker.ask(plan.fresh(TRUNCATED_U))
    row.saw = asker.words(told)
    row.want(told.reply and told.reply.truncated and told.ms <= expect.AT_ONCE, "TC at once")


@claim("UDP truncated, TCP works: the whole answer at once", together=True)
def truncated_with_tcp(world, row):
    row.did = "tcp+udp://"
    name = plan.fresh(TRUNCATED_B)
    expect.answered(row, name)
    expect.transports(world, row, name, "udp", "tcp")


WRONG_ID_U, WRONG_ID_B = both("wrong-id", "wrong_id")
GUESSED = plan.upstream("guessed-u", "udp", udp="wrong_id 5")
FLOODED = plan.upstream("flooded-b", "tcp+udp", udp="wrong_id 40", tcp="good")


@claim("UDP with a wrong ID: as if dropped", together=True)
def wrong_id(_world, row):
    row.did = "udp://, then tcp+udp://"
    expect.gives_up(row, plan.fresh(WRONG_ID_U))
    expect.answered(row, plan.fresh(WRONG_ID_B), within=1000)


@claim("UDP with five wrong IDs and then the right one: the answer at once", together=True)
def guessed(_world, row):
    row.did = "udp://"
    expect.answered(row, plan.fresh(GUESSED))


@claim("UDP with many wrong IDs: TCP at once", together=True)
def flooded(world, row):
    row.did = "tcp+udp://, 40 guesses, then the answer"
    name = plan.fresh(FLOODED)
    expect.answered(row, name)
    expect.transports(world, row, name, "udp", "tcp")


WRONG_QUESTION_U, WRONG_QUESTION_B = both("wrong-question", "wrong_question")
CROSSED = plan.upstream("crossed-u", "udp", udp="wrong_question 5")


@claim("UDP with a wrong question: as if dropped; the right one after it counts", together=True)
def wrong_question(_world, row):
    row.did = "udp://, tcp+udp://, udp:// with the right one behind"
    expect.gives_up(row, plan.fresh(WRONG_QUESTION_U))
    expect.answered(row, plan.fresh(WRONG_QUESTION_B), within=1000)
    expect.answered(row, plan.fresh(CROSSED))


GARBAGE_U, GARBAGE_B = both("garbage", "garbage")
BROKEN_U, BROKEN_B = both("broken", "broken")


@claim("UDP with garbage: as if dropped", together=True)
def garbage(_world, row):
    row.did = "udp://, then tcp+udp://, 40 random bytes"
    expect.gives_up(row, plan.fresh(GARBAGE_U))
    expect.answered(row, plan.fresh(GARBAGE_B), within=1000)


@claim("UDP answer cut in the middle of a record: TCP at once, or SERVFAIL", together=True)
def broken(world, row):
    row.did = "udp://, then tcp+udp://"
    told = asker.ask(plan.fresh(BROKEN_U))
    row.saw = asker.words(told)
    row.want(told.reply and told.reply.rcode == message.SERVFAIL, "SERVFAIL")
    name = plan.fresh(BROKEN_B)
    expect.answered(row, name)
    expect.transports(world, row, name, "udp", "tcp")


SERVFAIL_U, SERVFAIL_B = both("servfail", "servfail")
REFUSED_U, REFUSED_B = both("refused", "refused")


@claim("SERVFAIL and REFUSED of the only upstream: the same, at once", together=True)
def codes(_world, row):
    row.did = "udp:// and tcp+udp:// each"
    expect.each_refusal(row, (SERVFAIL_U, SERVFAIL_B))
    expect.each_refusal(row, (REFUSED_U, REFUSED_B), message.REFUSED)


FORMERR = plan.upstream("formerr-u", "udp", udp="formerr")


@claim("FORMERR to EDNS: asked again without it", together=True)
def formerr(world, row):
    row.did = "udp://, FORMERR to whatever has EDNS"
    name = plan.fresh(FORMERR)
    expect.answered(row, name)
    edns = [each["edns"] for each in world.faulty.asked(name)]
    row.saw += f"; with EDNS: {edns}"
    row.want(edns == [True, False], "one query with, one without")


CLOSED_U, CLOSED_B = both("closed", "closed")
UNREACHABLE_U, UNREACHABLE_B = both("unreachable", "good")


@claim("UDP port closed (ICMP): TCP at once, or SERVFAIL early", together=True)
def closed(world, row):
    row.did = "tcp+udp://, then udp://"
    name = plan.fresh(CLOSED_B)
    expect.answered(row, name)
    expect.transports(world, row, name, "tcp")
    expect.refusal(row, plan.fresh(CLOSED_U), within=1000)


@claim("UDP host unreachable (ICMP): TCP at once, or SERVFAIL early", together=True)
def unreachable(world, row):
    row.did = "tcp+udp://, then udp://"
    ports = [plan.UPSTREAMS[each].port for each in (UNREACHABLE_U, UNREACHABLE_B)]
    with world.faults("unreachable", *ports):
        name = plan.fresh(UNREACHABLE_B)
        expect.answered(row, name)
        expect.transports(world, row, name, "tcp")
        expect.refusal(row, plan.fresh(UNREACHABLE_U), within=1000)


LONELY = plan.upstream("lonely-u", "udp", udp="good")


@claim("UDP: random IDs, and ports that do not last", together=True)
def unguessable(world, row):
    count, life = 600, 128
    row.did = f"udp://, {count} queries in 1 s"
    expect.all_answered(row, asker.Volley(expect.names(LONELY, count), 1).over_udp())
    seen = world.faulty.see(LONELY)["seen"]
    ports = collections.Counter(each["port"] for each in seen)
    numbers = [each["number"] for each in seen]
    near = sum(abs(a - b) < 256 for a, b in zip(numbers, numbers[1:]))
    row.saw += (f"; {len(ports)} ports, {max(ports.values())} queries from one at most; "
                f"{len(set(numbers))} IDs, {near} near the one before")
    row.want(max(ports.values()) <= life, f"{life} queries from one port at most")
    row.want(len(set(numbers)) >= count * 0.9 and near <= count * 0.05, "random IDs")
