"""One upstream by TLS or HTTPS: who it is, by certificate, pin and name."""

from lab.faults import expect, message, plan
from lab.tour import claim

plan.chapter(__name__)


def both(name, **more):
    """The same, good otherwise, for TLS and HTTPS."""
    return (plan.upstream(f"tls-{name}", "tls", tls="good", **more),
            plan.upstream(f"https-{name}", "https", https="good", **more))


CERTIFICATES = {kind: both(kind.replace("_", "-"), certificate=kind)
                for kind in ("wrong_name", "expired", "early", "untrusted")}


def _mistrusted(world, row, upstreams):
    for upstream in upstreams:
        expect.refusal(row, plan.fresh(upstream), within=500)
        row.want(not world.faulty.see(upstream)["seen"], "no query to get there")


def _untrusted(kind, text):
    @claim(f"certificate {text}: SERVFAIL at once, nothing is asked", together=True)
    def _check(world, row):
        row.did = "tls://, https://"
        _mistrusted(world, row, CERTIFICATES[kind])


_untrusted("wrong_name", "of somebody else")
_untrusted("expired", "expired")
_untrusted("early", "of the future")
_untrusted("untrusted", "of an authority that is not trusted")

BY_NAME = {"host": message.SERVER_NAME}
AT = f"list addr '{message.SERVER_ADDRESS}'"
PINNED = both("pinned", certificate="untrusted", options=("list pin '@pin untrusted@'",))
PINNED_TOO = both("pinned-too", options=("list pin '@pin expired@'", "list pin '@pin good@'"))
MISPINNED = both("mispinned", options=("list pin '@pin untrusted@'",))
PIN_ALONE = both("pin-alone", certificate="untrusted",
                 options=(AT, "list pin '@pin untrusted@'"), **BY_NAME)
PIN_WRONG = both("pin-wrong", options=(AT, "list pin '@pin untrusted@'"), **BY_NAME)


@claim("pin: alone it vouches for a key, one of several is enough", together=True)
def pinned(_world, row):
    row.did = "untrusted authority and its pin; the second of two pins"
    expect.each_answered(row, (*PINNED, *PINNED_TOO), within=250)


@claim("pin of another key, or a pin without a good certificate when there is a name: SERVFAIL "
       "at once, nothing is asked", together=True)
def mispinned(world, row):
    row.did = "by address: another key; by name: untrusted authority, another key"
    _mistrusted(world, row, (*MISPINNED, *PIN_ALONE, *PIN_WRONG))


NAMED = both("named", options=(AT,), **BY_NAME)
MISNAMED = both("misnamed", options=("option tls_name 'elsewhere.example'",))
BOOTSTRAP = plan.upstream("bootstrap", "udp", udp="good", rule=False)
BOOTED = both("booted", **BY_NAME)
plan.SETTINGS[__name__].append("option bootstrap 'bootstrap'")


@claim("upstream by name: with addresses nobody is asked, else the bootstrap", together=True)
def named(world, row):
    row.did = "tls://, https:// with list addr; then without"
    expect.each_answered(row, NAMED, within=250)
    expect.each_answered(row, BOOTED, within=250)
    asked = {each["name"] for each in world.faulty.see(BOOTSTRAP)["seen"]}
    row.saw += f"; bootstrap saw {' '.join(asked)}"
    row.want(asked == {message.SERVER_NAME}, f"{message.SERVER_NAME} alone to be asked for")


@claim("tls_name that the certificate does not have: SERVFAIL at once", together=True)
def misnamed(_world, row):
    row.did = "tls://, https://"
    expect.each_refusal(row, MISNAMED, within=500)
