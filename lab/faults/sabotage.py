"""Ways to break the lab of the faults on purpose: a claim that cannot fail proves nothing.

Each way changes the plan before anything is built. `lab/redcheck --dns` names the claims that
failed under none of them.
"""

import functools
import os
import threading

from lab import home, net, peers
from lab.daemon import Daemon
from lab.faults import plan


def none():
    """Nothing broken."""


def all_silent():
    """No upstream answers anything."""
    _every("silent")


def all_good():
    """No upstream misbehaves."""
    _every("good", certificate="good")


def all_late():
    """Every upstream answers well, 1.2 s late."""
    _every("delay 1200", certificate="good")


def unbounded():
    """The daemon's bounds are as far away as they can be."""
    for chapter in {each.chapter for each in plan.UPSTREAMS.values()}:
        plan.SETTINGS[chapter] += ["option max_queries '16384'",
                                   "option max_client_queries '16384'",
                                   "option max_tcp_clients '1024'",
                                   "option max_client_connections '1024'"]


def other_forwarder():
    """dnsmasq in place of dae: see `Dnsmasq`."""


def mortal():
    """dae ends two seconds after each start: see `Mortal`."""


class Mortal(Daemon):
    """A daemon that is killed soon after its start."""

    def start(self):
        seconds = super().start()
        timer = threading.Timer(2, self.kill)
        timer.daemon = True
        timer.start()
        return seconds


class Dnsmasq:
    """Looks like a `Daemon`; asks the upstreams of each group over UDP."""

    def __init__(self, folder):
        self.folder = folder
        self.log = os.path.join(folder, "dnsmasq.log")
        self._process = None

    def configure(self, _text):
        """Nothing of a UCI file is for it: it reads the plan."""

    def start(self):
        """Starts it with the upstreams of all chapters."""
        lines = [f"server=/{group.name}.example/{plan.address()}#{plan.UPSTREAMS[each].port}"
                 for group in plan.GROUPS.values() for each in group.upstreams
                 if plan.UPSTREAMS[each].port]
        config = peers.write(self.folder, "dnsmasq.conf", "\n".join(
            ["no-resolv", "no-hosts", "user=root", *lines, ""]))
        self._process = net.start(net.Undo(), home.ROUTER, [
            "dnsmasq", "--keep-in-foreground", f"--conf-file={config}", "--pid-file"],
            self.log, lambda: net.bound(home.ROUTER, 53, "u"))

    def stop(self):
        """Ends it."""
        if self._process:
            net.stop(self._process)

    @property
    def pid(self):
        """Of the running process."""
        return self._process.pid

    @property
    def exit_code(self):
        """None while it runs."""
        return self._process.poll() if self._process else None

    @staticmethod
    def log_tail():
        """Nothing of interest."""
        return ""


def _every(mode, certificate=None):
    for name, each in plan.UPSTREAMS.items():
        if each.port:
            scheme = each.url.partition(":")[0]
            new = {kind: mode for kind in scheme.split("+")}
            plan.UPSTREAMS[name] = each._replace(certificate=certificate or each.certificate,
                                                 **new)


WAYS = {way.__name__: way for way in (none, all_silent, all_good, all_late, unbounded,
                                      other_forwarder, mortal)}


def daemon(way, binary):
    """What makes the daemon of a world, `daemon(folder)`, under this way."""
    if way == "other_forwarder":
        return Dnsmasq
    return functools.partial(Mortal if way == "mortal" else Daemon, binary)
