"""Several upstreams: one of them fails, and the client does not notice; stale answers."""

import time

from lab.faults import asker, expect, message, plan
from lab.tour import claim

plan.chapter(__name__)

COUNT, SECONDS = 100, 2


def second(name, **modes):
    """A group of two: the first misbehaves, the second is good."""
    transport = modes.pop("transport", "udp")
    plan.upstream(f"{name}-1", transport, rule=False, **modes)
    plan.upstream(f"{name}-2", "udp", udp="good", rule=False)
    return plan.group(name, [f"{name}-1", f"{name}-2"])


def unnoticed(row, group, p99):
    """100 queries in 2 s."""
    row.did = f"{COUNT} queries, {COUNT // SECONDS} a second"
    expect.all_answered(row, asker.Volley(expect.names(group, COUNT), SECONDS).over_udp(), p99)


SILENT = second("first-silent", udp="silent")
SILENT_T = second("first-silent-tcp", transport="tcp", tcp="silent")
SILENT_B = second("first-silent-both", transport="tcp+udp", udp="silent", tcp="silent")
SILENT_S = second("first-silent-tls", transport="tls", tls="hang")
BLACK_T = second("first-black-tcp", transport="tcp", tcp="good")
CODES = [second("first-servfail", udp="servfail"), second("first-refuses", udp="refused"),
         second("first-formerr", udp="broken")]
GONE = [second("first-closed", udp="closed"),
        second("first-refused", transport="tcp", tcp="closed"),
        second("first-reset", transport="tcp", tcp="reset"),
        second("first-expired", transport="tls", tls="good", certificate="expired")]


@claim("first of two silent by UDP, 100 queries: none lost, p99 within 200 ms", together=True)
def silent(_world, row):
    unnoticed(row, SILENT, 200)


@claim("first of two silent by TCP, 100 queries: none lost, p99 within 200 ms", together=True)
def silent_tcp(_world, row):
    unnoticed(row, SILENT_T, 200)


@claim("first of two silent by UDP and TCP, 100 queries: none lost, p99 within 200 ms",
       together=True)
def silent_both(_world, row):
    unnoticed(row, SILENT_B, 200)


@claim("first of two hangs in the TLS handshake, 100 queries: none lost, p99 within 200 ms",
       together=True)
def silent_tls(_world, row):
    unnoticed(row, SILENT_S, 200)


@claim("first of two in a black hole by TCP, 100 queries: none lost, p99 within 200 ms",
       together=True)
def black_tcp(world, row):
    with world.silent(f"{BLACK_T}-1"):
        unnoticed(row, BLACK_T, 200)


@claim("first of two says SERVFAIL, REFUSED or nonsense: the second's answer at once",
       together=True)
def codes(_world, row):
    row.did = "20 queries each"
    for group in CODES:
        expect.all_answered(row, asker.Volley(expect.names(group, 20), 0.4).over_udp(),
                            expect.AT_ONCE)


@claim("first of two refused, reset, closed by ICMP, expired: the second's answer at once",
       together=True)
def gone(_world, row):
    row.did = "20 queries each"
    for group in GONE:
        told = asker.Volley(expect.names(group, 20), 0.4).over_udp()
        expect.all_answered(row, told, p99=expect.AT_ONCE + expect.SLACK)
        row.want(asker.percentile(told, 0.5) <= 50, "half of them within 50 ms")


DEAD = plan.group("all-dead", [plan.upstream(f"dead-{at}", "udp", udp="silent", rule=False)
                               for at in range(3)])
WORSE = plan.group("all-failing", [plan.upstream("failing-1", "udp", udp="servfail", rule=False),
                                   plan.upstream("failing-2", "udp", udp="servfail", rule=False)])


@claim("all of three silent: SERVFAIL by the deadline; all say SERVFAIL: the same at once",
       together=True)
def dead(_world, row):
    expect.refusal(row, plan.fresh(DEAD), within=expect.UDP_ENDS * 2 + expect.SLACK, after=3000)
    expect.refusal(row, plan.fresh(WORSE))


LEAVES = second("first-leaves", udp="good")


@claim("first of two goes away for 3 s and comes back: nothing lost, then it is used again",
       together=True)
def leaves(world, row):
    row.did = "25 queries a second for 12 s"
    first = f"{LEAVES}-1"
    expect.answered(row, plan.fresh(LEAVES))
    names = expect.names(LEAVES, 300)
    port = plan.UPSTREAMS[first].port
    away = world.set_fault("add", "silent", f"udp . {port}")
    told = asker.Volley(names[:75], 3, wait=2).over_udp()
    back = world.set_fault("delete", "silent", f"udp . {port}")
    told += asker.Volley(names[75:], 9, wait=2).over_udp()
    expect.all_answered(row, told, 200)
    seen = [each["at"] for each in world.faulty.see(first)["seen"] if each["at"] > back]
    late = [at for at in seen if at > back + 8]
    row.saw += (f"; away {back - away:.1f} s, then asked again after "
                f"{(seen[0] - back) * 1000 if seen else -1:.0f} ms, {len(late)} in the last second")
    row.want(len(late) >= 10, "it to be asked again as before")


RACE = plan.group("race", [plan.upstream("race-1", "udp", udp="delay 400", rule=False),
                           plan.upstream("race-2", "udp", udp="delay 20", rule=False)], "race")
FASTEST = plan.group("fastest", [plan.upstream("fastest-1", "udp", udp="delay 120", rule=False),
                                 plan.upstream("fastest-2", "udp", udp="delay 10", rule=False)],
                     "fastest")


@claim("race: the fastest answer of all", together=True)
def race(world, row):
    row.did = "400 ms and 20 ms"
    name = plan.fresh(RACE)
    expect.answered(row, name, within=20 + expect.AT_ONCE, after=15)
    asked = {each["upstream"] for each in world.faulty.asked(name)}
    row.saw += f", asked {len(asked)}"
    row.want(len(asked) == 2, "both to be asked")


@claim("fastest: the one that answers faster is asked", together=True)
def fastest(_world, row):
    row.did = "120 ms and 10 ms, 50 queries after 20"
    expect.answered(row, plan.fresh(FASTEST), within=500)
    for name in expect.names(FASTEST, 20):
        asker.ask(name)
    told = [asker.ask(name) for name in expect.names(FASTEST, 50)]
    expect.all_answered(row, told)
    row.want(asker.percentile(told, 0.5) <= 60, "half of them within 60 ms")


STALE = plan.upstream("stale", "udp", udp="brief")
STALE_DOWN = plan.upstream("stale-refused", "tcp", tcp="brief")


@claim("upstream away, answer expired: the stale one within 1.8 s, TTL 30, EDE 3", together=True)
def stale(world, row):
    row.did = "TTL 1, asked again after 2 s"
    for upstream, within in ((STALE, 1800 + expect.SLACK), (STALE_DOWN, 1800 + expect.SLACK)):
        name = plan.fresh(upstream)
        expect.answered(row, name)
        time.sleep(2)
        world.faulty.set(upstream, udp="silent", tcp="reset")
        try:
            told = expect.answered(row, name, within=within)
            row.saw += f" TTL {told.reply.ttl}"
            row.want(told.reply.ttl == 30, "TTL 30")
            row.want(3 in told.reply.ede, "EDE 3")
        finally:
            world.faulty.set(upstream, udp="brief", tcp="brief")


EXPLAINED = {"silent": (plan.upstream("why-silent", "udp", udp="silent"), (22, 23)),
             "refused": (plan.upstream("why-refused", "tcp", tcp="closed"), (22, 23)),
             "certificate": (plan.upstream("why-tls", "tls", tls="good", certificate="expired"),
                             (22, 23))}


@claim("SERVFAIL says why (EDE 22 or 23)", together=True)
def explained(_world, row):
    row.did = ", ".join(EXPLAINED)
    for upstream, codes in EXPLAINED.values():
        told = expect.refusal(row, plan.fresh(upstream), message.SERVFAIL,
                              within=expect.UDP_ENDS + expect.SLACK)
        row.want(set(told.reply.ede) & set(codes), f"EDE {codes}")
