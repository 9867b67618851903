"""Ways to break the lab of the faults on purpose: a claim that cannot fail proves nothing.

Each way changes the plan before anything is built. `lab/redcheck --dns` names the claims that
failed under none of them.
"""

from lab.faults import plan


def none():
    """Nothing broken."""


def all_silent():
    """No upstream answers anything."""
    _every(udp="silent", tcp="silent", tls="silent")


def all_good():
    """No upstream misbehaves."""
    _every(udp="good", tcp="good", tls="good", certificate="good")


def all_late():
    """Every upstream answers well, 1.2 s late."""
    _every(udp="delay 1200", tcp="delay 1200", tls="delay 1200", certificate="good")


def _every(certificate=None, **modes):
    for name, each in plan.UPSTREAMS.items():
        if each.port:
            new = {kind: mode for kind, mode in modes.items() if kind != "tls" or each.tls}
            new["tcp"] = None if each.tls else new["tcp"]
            plan.UPSTREAMS[name] = each._replace(certificate=certificate or each.certificate,
                                                 **new)


WAYS = {way.__name__: way for way in (none, all_silent, all_good, all_late)}
