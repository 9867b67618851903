"""Real programs: unbound, knot-resolver and dnsdist as upstreams; dig, kdig and drill ask."""

import re

from lab.faults import asker, expect, message, plan, real
from lab.tour import claim

plan.chapter(__name__)

COUNT = 200
PORTS = {
    "unbound": {"udp": real.UNBOUND, "tcp": real.UNBOUND, "tcp+udp": real.UNBOUND,
                "tls": real.UNBOUND_TLS},
    "kresd": {"udp": real.KRESD, "tcp": real.KRESD, "tcp+udp": real.KRESD,
              "tls": real.KRESD_TLS, "https": real.KRESD_HTTPS},
    "dnsdist": {"udp": real.DNSDIST, "tcp": real.DNSDIST, "tcp+udp": real.DNSDIST,
                "tls": real.DNSDIST_TLS, "https": real.DNSDIST_HTTPS},
}


def _upstream(program, transport, group):
    @claim(f"{program} by {transport}: {COUNT} queries, none lost")
    def _check(_world, row):
        row.did = f"{COUNT} names in 0.2 s"
        told = asker.Volley(expect.names(group, COUNT), 0.2).over_udp()
        expect.all_answered(row, told, p99=expect.AT_ONCE + expect.SLACK)


for _program, _ports in PORTS.items():
    for _transport, _port in _ports.items():
        _upstream(_program, _transport, plan.peer(
            f"{_program}-{_transport.replace('+', '-')}", _transport, _port))

GOOD = plan.upstream("good", "tcp+udp", udp="good", tcp="delay 20")
SILENT = plan.upstream("mute", "udp", udp="silent")


def run(world, row, *argv):
    """A client program's output."""
    done = world.client.run(*argv, timeout=30)
    row.want(done.returncode == 0, f"{argv[0]} to succeed, not {done.stderr.strip()}")
    return done.stdout


def addresses(text):
    """The addresses of its answers, in order."""
    return re.findall(r"\bA\s+(203\.0\.113\.\d+)$", text, re.MULTILINE)


def pipelined(world, row, *argv):
    """Eight names, by one connection if the program can."""
    names = expect.names(GOOD, 8)
    row.did = f"{' '.join(argv)}, {len(names)} names"
    found = addresses(run(world, row, *argv, *names))
    row.saw = f"{len(found)} answers"
    row.want(found == [message.address_of(name) for name in names], "each its own")


@claim("dig: UDP", together=True)
def dig(world, row):
    pipelined(world, row, "dig", f"@{asker.SERVER[0]}", "+tries=1")


@claim("dig: TCP, one connection for all", together=True)
def dig_tcp(world, row):
    pipelined(world, row, "dig", f"@{asker.SERVER[0]}", "+tcp", "+keepopen", "+tries=1")


@claim("kdig: UDP", together=True)
def kdig(world, row):
    pipelined(world, row, "kdig", f"@{asker.SERVER[0]}", "+retry=0")


@claim("kdig: TCP, one connection for all", together=True)
def kdig_tcp(world, row):
    pipelined(world, row, "kdig", f"@{asker.SERVER[0]}", "+tcp", "+keepopen", "+retry=0")


@claim("drill: UDP and TCP", together=True)
def drill(world, row):
    for flag in ("-u", "-t"):
        name = plan.fresh(GOOD)
        row.did += f"drill {flag} "
        found = addresses(run(world, row, "drill", flag, name, f"@{asker.SERVER[0]}"))
        row.saw += f"{' '.join(found)} "
        row.want(found == [message.address_of(name)], "the answer")


def explained(world, row, *argv):
    """What a program shows of a query that nobody answered."""
    name = plan.fresh(SILENT)
    text = run(world, row, *argv, name)
    row.did = " ".join(argv)
    status = re.search(r"status: (\w+)", text)[1]
    shown = re.search(r"EDE: .*", text)
    row.saw = f"{status}, {shown[0] if shown else 'no EDE'}"
    row.want(status == "SERVFAIL" and shown, "SERVFAIL and an EDE")
    return shown[0]


@claim("dig and kdig show why nobody answered (EDE)", together=True)
def ede(world, row):
    explained(world, row, "dig", f"@{asker.SERVER[0]}", "+tries=1", "+time=6")
    seen = row.saw
    explained(world, row, "kdig", f"@{asker.SERVER[0]}", "+retry=0", "+timeout=6", "+edns")
    row.saw = f"{seen}; {row.saw}"
