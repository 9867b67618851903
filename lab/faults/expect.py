"""What a client may expect: the words that the claims about faults are written in."""

from lab.faults import asker, message, plan

# Milliseconds. "At once" leaves room for the scheduling of a busy machine with two cores, and
# so does SLACK, which the daemon's own times get on top.
AT_ONCE, SLACK = 150, 350
UDP_ENDS, STREAM_ENDS = 4250, 3500


def answered(row, name, within=AT_ONCE, after=0, over="udp"):
    """One query with a good answer in time."""
    told = asker.ask(name, over=over)
    _say(row, asker.words(told))
    row.want(told.reply and told.reply.addresses, "the answer")
    row.want(after <= told.ms <= within, f"it after {after} to {within} ms")
    return told


def refusal(row, name, rcode=message.SERVFAIL, within=AT_ONCE, after=0):
    """One query with a code instead of an answer, in time."""
    told = asker.ask(name)
    _say(row, asker.words(told))
    code = message.RCODES[rcode]
    row.want(told.reply and told.reply.rcode == rcode and not told.reply.addresses, code)
    row.want(told.reply.recursion, "RA")
    row.want(after <= told.ms <= within, f"it after {after} to {within} ms")
    return told


def each_answered(row, upstreams, **more):
    """One query to each, with a good answer in time."""
    for upstream in upstreams:
        answered(row, plan.fresh(upstream), **more)


def each_refusal(row, upstreams, *code, **more):
    """One query to each, with a code instead of an answer, in time."""
    for upstream in upstreams:
        refusal(row, plan.fresh(upstream), *code, **more)


def each_gives_up(row, upstreams, *after):
    """One query to each, with SERVFAIL at its deadline."""
    for upstream in upstreams:
        gives_up(row, plan.fresh(upstream), *after)


def gives_up(row, name, after=UDP_ENDS):
    """One query that gets SERVFAIL at its deadline, not earlier, not later."""
    return refusal(row, name, within=after + SLACK, after=after - 50)


def all_answered(row, told, p99=None):
    """A volley of which nothing is lost; prints the percentiles."""
    lost = len(told) - len(asker.good(told))
    times = [asker.percentile(told, part) for part in (0.5, 0.99)]
    _say(row, f"{lost} of {len(told)} failed, p50 {times[0]:.0f} ms, p99 {times[1]:.0f} ms")
    row.want(lost == 0, "none to fail")
    row.want(p99 is None or times[1] <= p99, f"p99 <= {p99} ms")


def transports(world, row, name, *expected):
    """Over what the upstream was asked for a name, in order."""
    asked = tuple(each["over"] for each in world.faulty.asked(name))
    _say(row, f"upstream saw {', '.join(asked) or 'nothing'}")
    row.want(asked == expected, ", ".join(expected))


def names(upstream, count):
    """So many fresh names of an upstream or group."""
    return [plan.fresh(upstream) for _ in range(count)]


def _say(row, text):
    row.saw += f"{'; ' if row.saw else ''}{text}"
