"""DNS: who answers, over what, and what the world outside gets to see."""

import socket
import time

from lab import home, resolver
from lab.peers import BIG_TEXTS
from lab.tour import claim


def router(family):
    """Whom the LAN asks."""
    return home.lan(family, home.ROUTER_LAN)


def public(family):
    """A resolver outside that a client may ask on its own."""
    return home.srv(family, home.PUBLIC_RESOLVER)


def answered_by(lab, row, server, expected, tcp=False):
    """Asks `server` for whoami.example; the resolver behind the answer must be `expected`."""
    answer = lab.client.ask(server, resolver.WHOAMI, "TXT", tcp=tcp)
    row.saw += f"{' and ' if row.saw else ''}{answer.records[0]} behind {answer.server}, {answer.ms} ms"
    row.want(answer.records == [f'"{expected}"'], expected)


@claim("DNS asked of the router, UDP and TCP", home.FAMILIES)
def of_the_router(lab, row, family):
    row.did = f"{resolver.WHOAMI} of {router(family)}, twice"
    answered_by(lab, row, router(family), "main")
    answered_by(lab, row, router(family), "main", tcp=True)


@claim("DNS asked of a public resolver, answered by us as it", home.FAMILIES)
def of_a_public_resolver(lab, row, family):
    row.did = f"{resolver.WHOAMI} of {public(family)}, UDP and TCP"
    # Others are asked of it by the checks of nodes.
    before = len(lab.resolvers["public"].asked(resolver.WHOAMI))
    answered_by(lab, row, public(family), "main")
    answered_by(lab, row, public(family), "main", tcp=True)
    asked = len(lab.resolvers["public"].asked(resolver.WHOAMI)) - before
    row.saw += f"; the public one saw {asked} of them"
    row.want(asked == 0, "none")


@claim("DNS cached, TTL counted down", home.FAMILIES)
def cached(lab, row, family):
    kind = "A" if family == 4 else "AAAA"
    row.did = f"cached.example {kind} twice, a second apart"
    first = lab.client.ask(router(family), "cached.example", kind)
    time.sleep(1.1)
    asked = len(lab.resolvers["main"].asked("cached.example"))
    second = lab.client.ask(public(family), "cached.example", kind)
    more = len(lab.resolvers["main"].asked("cached.example")) - asked
    row.saw = f"TTL {first.ttl} then {second.ttl}, {second.ms} ms, {more} more queries upstream"
    row.want(second.records == [home.srv(family, home.PLAIN)], home.srv(family, home.PLAIN))
    row.want(asked >= 1 and more == 0, "none")
    row.want(first.ttl - 3 <= second.ttl < first.ttl, "the TTL to count down")


@claim("DNS with upstream UDP lost, answered over TCP", home.FAMILIES)
def lossy(lab, row, family):
    kind = "A" if family == 4 else "AAAA"
    row.did = f"{resolver.LOSSY} {kind}, which the upstream ignores over UDP"
    before = len(lab.resolvers["main"].asked(resolver.LOSSY))
    answer = lab.client.ask(router(family), resolver.LOSSY, kind)
    asked = lab.resolvers["main"].asked(resolver.LOSSY)[before:]
    row.saw = f"{' '.join(answer.records)}, {answer.ms} ms; upstream saw {', '.join(asked)}"
    row.want(answer.records == [home.srv(family, home.PLAIN)], home.srv(family, home.PLAIN))
    if before:
        row.want(asked[0] == "tcp" and answer.ms <= 100, "tcp at once: that UDP is lost is known")
    else:
        row.want(asked[0] == "udp" and "tcp" in asked, "udp, then tcp")


@claim("DNS too long for UDP, whole over TCP", home.FAMILIES)
def truncated(lab, row, family):
    row.did = f"big.example TXT of {router(family)}, TCP and UDP"
    whole = lab.client.ask(router(family), "big.example", "TXT", tcp=True)
    short = lab.client.ask(router(family), "big.example", "TXT", options=("+ignore",))
    asked = lab.resolvers["main"].asked("big.example")
    row.saw = (f"TCP {len(whole.records)} records, {whole.ms} ms; UDP {' '.join(short.flags)}; "
               f"upstream saw {', '.join(asked)}")
    row.want(len(whole.records) == BIG_TEXTS, f"{BIG_TEXTS} records")
    row.want(asked, "it to be our upstream")
    row.want("tc" not in whole.flags and "tc" in short.flags, "tc set over UDP alone")


@claim("local names from dnsmasq", home.FAMILIES)
def local(lab, row, family):
    kind = "A" if family == 4 else "AAAA"
    row.did = f"nas.lan {kind} and the name of {home.lan(4, home.NAS)}"
    name = lab.client.ask(router(family), "nas.lan", kind)
    pointer = lab.client.ask(router(family), "50.77.168.192.in-addr.arpa", "PTR")
    row.saw = f"{' '.join(name.records)}, {' '.join(pointer.records)}, {name.ms} ms"
    row.want(name.records == [home.lan(family, home.NAS)], home.lan(family, home.NAS))
    row.want(pointer.records == ["nas.lan."], "nas.lan.")
    outside = [each for key in lab.resolvers for each in lab.resolvers[key].asked("nas.lan")]
    row.want(not outside, "no query outside")


@claim("DNS rule reject")
def rejected(lab, row):
    row.did = "ads.example"
    answer = lab.client.ask(router(4), "ads.example")
    row.saw = f"{answer.status}, {len(answer.records)} records"
    row.want(answer.status == "NOERROR" and not answer.records, "NOERROR without records")
    row.want(not lab.resolvers["main"].asked("ads.example"), "nobody asked")


@claim("DNS rule asis", home.FAMILIES)
def asis(lab, row, family):
    row.did = f"asis.example of {public(family)}"
    before = len(lab.resolvers["public"].asked("asis.example"))
    answer = lab.client.ask(public(family), "asis.example")
    asked = len(lab.resolvers["public"].asked("asis.example")) - before
    row.saw = f"{' '.join(answer.records)}; the public one saw {asked} query"
    row.want(answer.records == [home.srv(4, home.PLAIN)], home.srv(4, home.PLAIN))
    row.want(asked == 1, "1")


@claim("DNS keeps the client's ID and the case of its name")
def id_and_case(lab, row):
    row.did = "CaChEd.ExAmPlE with ID 0x1234, twice"
    labels = b"\6CaChEd\7ExAmPlE\0"
    query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\1\0\1"
    for _ in range(2):
        with lab.client.socket(socket.SOCK_DGRAM, 4) as asking:
            asking.sendto(query, (router(4), 53))
            answer = asking.recv(2048)
        row.saw = f"ID 0x{answer[:2].hex()}, {answer[12:27]}"
        row.want(answer[:2] == query[:2] and answer[12:28] == labels, "both as sent")
    row.want(lab.resolvers["main"].asked("cached.example"), "the answer to be ours")


@claim("DNS on the local listener")
def listener(lab, row):
    row.did = f"{resolver.WHOAMI} of 127.0.0.1 port 5354 on the router"
    row.saw = lab.on_router("dig", "@127.0.0.1", "-p", "5354", resolver.WHOAMI, "TXT",
                            "+short", "+tries=1", "+time=3").strip().split("\n")[-1]
    row.want(row.saw == '"main"', "main")
