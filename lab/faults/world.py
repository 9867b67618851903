"""The lab of the faults: the home network, the upstream that misbehaves, real peers, our daemon."""

import contextlib
import functools
import json
import os
import shutil
import socket
import sys
import threading
import time

from lab import home, net, peers
from lab.client import Client
from lab.faults import asker, certificates, plan, real

# What happens to packets of an upstream's port (as source or destination) in its kernel.
_FAULTS = """
table inet faults {{
    set silent {{ type inet_proto . inet_service; }}
    set lossy {{ type inet_service; }}
    set lossy_answers {{ type inet_service; }}
    set unreachable {{ type inet_service; }}
    set forgotten {{ type inet_service; }}
    chain coming {{
        type filter hook input priority filter;
        ip daddr != {address} accept
        meta l4proto . th dport @silent drop
        th dport @lossy numgen random mod 100 < 20 drop
        udp dport @unreachable reject with icmpx host-unreachable
        tcp sport @forgotten drop
    }}
    chain going {{
        type filter hook output priority filter;
        ip saddr != {address} accept
        meta l4proto . th sport @silent drop
        th sport @lossy_answers numgen random mod 100 < 20 drop
        tcp dport @forgotten drop
    }}
}}
"""


class World:
    """Everything a claim may use. `daemon(folder)` makes the one that is tried; outages last
    30 s if they are to be `long`, else 5 s."""

    def __init__(self, undo, daemon, long=False):
        self.long = long
        self.folder = net.temp_folder(undo)
        home.build(undo)
        net.run(home.CLIENT, "ip", "-batch", "-", stdin="".join(
            f"address add {each}/24 dev eth0\n" for each in asker.CROWD + asker.DESKS))
        net.run(home.INTERNET, "nft", "-f", "-", stdin=_FAULTS.format(address=plan.address()))
        # Each closed port is told of, not six of them and then one a second: what the rest of them
        # would look like, silence, has claims of its own.
        net.run(home.INTERNET, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
        self.certificates = os.path.join(self.folder, "certificates")
        certificates.make(self.certificates)
        self.faulty = Faulty(undo, self.folder, self.certificates)
        real.start_all(undo, self.folder, self.certificates)
        resolv_conf = peers.write(self.folder, "resolv.conf", f"nameserver {asker.SERVER[0]}\n")
        self.client = Client(resolv_conf)
        self.daemon = daemon(self.folder)
        self.chapter, self.started = None, False
        self.crashes = []  # chapters in which the daemon ended by itself
        undo.add("dae", self.daemon.stop)

    def enter(self, chapter):
        """The configuration of a chapter, and a daemon that has seen nothing."""
        self.end()
        self.chapter = chapter
        self.restart()

    def restart(self, *settings):
        """A new daemon in the same chapter, with these lines in its DNS section."""
        self.end()
        self.daemon.configure(plan.configuration(
            self.chapter, os.path.join(self.certificates, "ca.pem"),
            functools.partial(certificates.pin, self.certificates), settings))
        self.daemon.start()
        self.started = True

    def end(self):
        """Stops the daemon; notes it when it had ended by itself."""
        if self.started and self.daemon.exit_code is not None:
            self.crashes.append(self.chapter.rpartition(".")[2])
        self.daemon.stop()
        self.started = False

    def scene(self):
        """What may tell why a claim has just failed."""
        return f"       the last lines of dae's log:\n{self.daemon.log_tail()}"

    def keep(self, folder):
        """Leaves a copy of all logs."""
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(self.folder):
            if name.endswith((".log", ".conf", ".json")):
                shutil.copy(os.path.join(self.folder, name), folder)

    def memory(self):
        """Resident kilobytes of the daemon; the peak begins anew."""
        with open(f"/proc/{self.daemon.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")
        return self._status("VmRSS")

    def peak(self):
        """Most resident kilobytes of the daemon since `memory` was asked."""
        return self._status("VmHWM")

    def _status(self, key):
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key))

    @contextlib.contextmanager
    def faults(self, kind, *elements):
        """Elements of one of the sets above, for a while."""
        self.set_fault("add", kind, *elements)
        try:
            yield
        finally:
            self.set_fault("delete", kind, *elements)

    @staticmethod
    def set_fault(verb, kind, *elements):
        """Adds elements to a set above, or deletes them; the time when that was done."""
        text = ", ".join(str(each) for each in elements)
        net.run(home.INTERNET, "nft", verb, "element", "inet", "faults", kind, f"{{ {text} }}")
        return time.monotonic()

    @contextlib.contextmanager
    def silent(self, name, *protocols):
        """Nothing gets through to an upstream, nor back, for a while."""
        port = plan.UPSTREAMS[name].port
        with self.faults("silent", *(f"{each} . {port}" for each in protocols or ("tcp", "udp"))):
            yield


class Faulty:
    """The process of the upstream that misbehaves."""

    def __init__(self, undo, folder, certificate_folder):
        path = peers.write(folder, "faulty.json", json.dumps(
            {"servers": plan.faulty(), "certificates": certificate_folder}))
        control = os.path.join(folder, "faulty.control")
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "upstream.py")
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        undo.add("control", self._socket.close)
        net.start(undo, home.INTERNET, [sys.executable, program, path, control],
                  os.path.join(folder, "faulty.log"),
                  lambda: self._socket.connect_ex(control) == 0)
        self._lines = self._socket.makefile("rb")

    def set(self, name, **modes):
        """Changes how an upstream behaves."""
        self._tell({"set": name, **modes})

    def see(self, name):
        """What an upstream has seen so far."""
        return self._tell({"see": name})

    def asked(self, name, over=None):
        """The queries for a name, of the upstreams of its group, in order of time."""
        group = plan.GROUPS[name.split(".")[-2]]
        seen = [each | {"upstream": member} for member in group.upstreams
                for each in self.see(member)["seen"] if each["name"] == name.lower()]
        return sorted((each for each in seen if over in (None, each["over"])),
                      key=lambda each: each["at"])

    def _tell(self, order):
        with self._lock:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            return json.loads(self._lines.readline())
