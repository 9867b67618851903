"""Which upstreams the claims want and how each of them misbehaves: the configuration. Pure.

Claims declare what they need while they are imported. Each module of claims is a chapter with
a configuration of its own, because a configuration holds 64 upstreams at most. Every upstream has a port of its own
and names of its own, `*.NAME.example`, which a rule sends there: what one claim does to its
upstream is no other claim's business.
"""

import collections
import itertools
import re

from lab import home

FIRST_PORT = 6000

UPSTREAMS = {}
GROUPS = {}
SETTINGS = collections.defaultdict(list)  # chapter -> lines of the DNS section
EXTRA = collections.defaultdict(list)  # chapter -> further sections, as text

Upstream = collections.namedtuple("Upstream", "name chapter url port udp tcp tls https "
                                              "certificate options")
Group = collections.namedtuple("Group", "name chapter upstreams policy")

_chapter = [None]

_numbers = itertools.count()


def chapter(name):
    """What is declared from now on belongs to this chapter; its name is that of the module."""
    _chapter[0] = name


def upstream(name, transport, udp="closed", tcp="closed", tls=None, https=None, certificate="good",
             options=(), rule=True, host=None):
    """Declares an upstream; the modes are those of lab/faults/upstream.py.

    `options` are lines of its section. Without `rule` only groups ask it. `host` is what its
    URL says instead of the address.
    """
    assert name not in UPSTREAMS, name
    port = FIRST_PORT + len(UPSTREAMS)
    url = f"{transport}://{host or address()}:{port}"
    UPSTREAMS[name] = Upstream(name, _chapter[0], url, port, udp, tcp, tls, https, certificate,
                               tuple(options))
    if rule:
        group(name, [name])
    return name


def peer(name, transport, port, options=()):
    """Declares an upstream that is a real program, asked for names below peer-NAME.example."""
    UPSTREAMS[name] = Upstream(name, _chapter[0], f"{transport}://{address()}:{port}", None, None,
                               None, None, None, None, tuple(options))
    return group(f"peer-{name}", [name])


def group(name, upstreams, policy=None):
    """Names below NAME.example are asked of these upstreams."""
    assert name not in GROUPS, name
    GROUPS[name] = Group(name, _chapter[0], tuple(upstreams), policy)
    return name


def address():
    """Where all of them are."""
    return home.wan(4, home.RESOLVER)


def fresh(name):
    """A name that nobody has asked for yet, for this upstream or group."""
    return f"n{next(_numbers)}.{name}.example"


def faulty():
    """What the misbehaving program has to listen to, for its plan file."""
    return [each._asdict() | {"address": address()} for each in UPSTREAMS.values() if each.port]


def configuration(name, ca, pin, settings=()):
    """The UCI text of a chapter; `settings` are further lines of the DNS section, and
    `@pin NAME@` is filled in with `pin(NAME)`, that of a certificate's key."""
    blocks = [_section("dae 'main'", ["option enabled '1'", f"list interface '{home.LAN}'",
                                      "option log_level 'info'"]),
              _section("dns 'dns'", ["option upstream 'reject'", *SETTINGS[name], *settings])]
    blocks += [_upstream(each, ca) for each in UPSTREAMS.values() if each.chapter == name]
    blocks += [_rule(each) for each in GROUPS.values() if each.chapter == name]
    return re.sub(r"@pin (\w+)@", lambda found: pin(found[1]), "\n".join(blocks + EXTRA[name]))


def _upstream(each, ca):
    lines = [f"option url '{each.url}'", *each.options]
    # With an address alone, pins replace the authorities.
    pinned = f"//{address()}:" in each.url and any("list pin" in line for line in each.options)
    if each.url.startswith(("tls://", "https://")) and not pinned:
        lines.append(f"option ca '{ca}'")
    return _section(f"upstream '{_identifier(each.name)}'", lines)


def _rule(each):
    kind = "option" if len(each.upstreams) == 1 else "list"
    lines = [f"option name '{each.name}'", f"list domain '{each.name}.example'"]
    lines += [f"{kind} upstream '{_identifier(member)}'" for member in each.upstreams]
    lines += [f"option policy '{each.policy}'"] if each.policy else []
    return _section("dns_rule", lines)


def _identifier(name):
    """A name of a section: UCI takes no hyphen."""
    return name.replace("-", "_")


def _section(kind, lines):
    return f"config {kind}\n" + "".join(f"\t{line}\n" for line in lines)
