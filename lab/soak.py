#!/usr/bin/env python3
"""Flows that come and go for a long time, while nodes die and settings change.

2,048 UDP flows a second begin and end, 200 TCP flows are open at a time, one of two nodes is
killed and revived in turn, and the configuration is loaded anew. What counts: nothing is left
behind. Memory stays what it was after the first part, every session ends, every descriptor
comes back, and an idle daemon is idle again.

`lab/redcheck --soak` runs it with each way of `lab/soak_sabotage.py`.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from lab import home, net, soak_sabotage  # noqa: E402
from lab.daemon import Daemon  # noqa: E402

TARGET = home.srv(4, home.BY_PREFIX)
NODES = {"one": home.srv(4, home.SOCKS), "two": home.srv(4, home.SOCKS_OUT)}
KILL_EVERY, DEAD_FOR, RELOAD_EVERY = 20, 6, 15

MAX_GROWTH = 1.05
MAX_IDLE_CPU = 0.01
IDLE_SECONDS = 10

CONFIG = f"""config dae 'main'
\toption enabled '1'
\tlist interface '{home.LAN}'
\toption default_outbound 'direct'
\toption log_level 'warn'
\toption max_udp_sessions '@SESSIONS@'
\toption udp_idle_quic '30'

config dns 'dns'
\toption enabled '0'

config node 'one'
\toption url 'socks5://{NODES["one"]}:{home.SOCKS_PORT}'

config node 'two'
\toption url 'socks5://{NODES["two"]}:{home.SOCKS_PORT}'

config group 'both'
\tlist node 'one'
\tlist node 'two'

config rule
\toption name 'proxied'
\tlist dest_ip '203.0.113.32/28'
\toption outbound 'both'
"""
# What every other reload adds: a rule, and a node that nobody uses.
MORE = f"""
config node 'three'
\toption url 'socks5://{home.srv(4, home.SOCKS)}:{home.SOCKS_LOGIN_PORT}'

config rule
\toption name 'more'
\tlist dest_ip '198.18.0.0/15'
\toption outbound 'three'
"""


LIVES = "dae lives"
MEDDLED = "nodes come and go, settings are loaded anew"
MEMORY = "memory stays what it was"
ORDER = "datagrams come back once and in order"
FOREIGN = "datagrams come back as they were, to whoever sent them"
RETURNED = "most datagrams come back"
STREAMS = "few TCP flows fail"
SESSIONS = "every session ends"
DESCRIPTORS = "every descriptor comes back"
CPU = "an idle daemon takes no CPU"
WAKES = "an idle daemon sleeps"
CLAIMS = (LIVES, MEDDLED, MEMORY, ORDER, FOREIGN, RETURNED, STREAMS, SESSIONS, DESCRIPTORS, CPU,
          WAKES)


class Ended(Exception):
    """dae has ended; the text is the end of its log."""


class Node:
    """A SOCKS5 server that is killed and revived."""

    def __init__(self, bench, name):
        self._argv = [bench.chosen.peers, "sink", f"{NODES[name]}:{home.SOCKS_PORT}"]
        self._log = f"{bench.folder}/{name}.log"
        self._undo = net.Undo()
        self.start()

    def start(self):
        """Starts it, if it does not run."""
        self._process = net.start(self._undo, home.INTERNET, self._argv, self._log)

    def kill(self):
        """As a power cut would, but that the machine says so."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """For good."""
        self._undo.run()


class Soak:
    """The network, two nodes, dae; and what is done to them."""

    def __init__(self, undo, chosen):
        self.chosen = chosen
        self.folder = net.temp_folder(undo)
        home.build(undo)
        for name in (home.CLIENT, home.ROUTER):
            net.run(name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65535",
                    "net.ipv4.tcp_tw_reuse=1")
        self.nodes = [Node(self, name) for name in NODES]
        for node in self.nodes:
            undo.add("node", node.stop)
        self.dae = Daemon(chosen.dae, self.folder)
        # Those of two seconds: soon there are no more than there ever will be.
        self.config = CONFIG.replace("@SESSIONS@", str(2 * chosen.rate))
        self.more = MORE
        self.over = threading.Event()
        self.problems, self.kills, self.reloads = [], 0, 0
        soak_sabotage.WAYS[chosen.sabotage](self, undo)
        self.dae.configure(self.config)
        undo.add("dae", self.dae.stop)
        self.dae.start()

    def each(self, seconds, work):
        """Does something every so often until it is over."""
        def loop():
            while not self.over.wait(seconds):
                try:
                    work()
                except Exception as error:  # a thread's traceback would not fail the soak
                    self.problems.append(f"{work.__name__}: {error}")
        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def kill_a_node(self):
        """One of the two, in turn; it comes back."""
        node = self.nodes[self.kills % 2]
        self.kills += 1
        node.kill()
        self.over.wait(DEAD_FOR)
        node.start()

    def reload(self):
        """Every other time there is more in the file."""
        self.reloads += 1
        self.dae.configure(self.config + (self.more if self.reloads % 2 else ""))
        done = self.dae.command("reload")
        if done.returncode != 0:
            raise net.LabError(f"dae reload: {done.stderr.strip()}")

    def resident_kb(self):
        """Memory of dae, of which a dead one has none."""
        try:
            with open(f"/proc/{self.dae.pid}/status", encoding="ascii") as file:
                return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])
        except (OSError, TypeError) as error:
            raise Ended(self.dae.log_tail()) from error

    def descriptors(self):
        """How many dae has open."""
        return len(os.listdir(f"/proc/{self.dae.pid}/fd"))

    def spent(self):
        """Seconds of CPU and wake-ups of dae so far."""
        cpu = wakes = 0
        for thread in os.listdir(f"/proc/{self.dae.pid}/task"):
            with open(f"/proc/{self.dae.pid}/task/{thread}/schedstat", encoding="ascii") as file:
                cpu += int(file.read().split()[0]) / 1e9
            with open(f"/proc/{self.dae.pid}/task/{thread}/status", encoding="ascii") as file:
                wakes += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(),
                                       re.MULTILINE)[1])
        return cpu, wakes

    def open_flows(self):
        """Sessions and connections that dae has."""
        flow = self.dae.status()["flow"]
        return flow["udp"]["active"] + flow["tcp"]["active"]


def load(soak):
    """Runs the load with all that happens meanwhile: its report, memory after the first part and
    at the end."""
    seconds = soak.chosen.seconds
    with net.inside(home.CLIENT):
        churn = subprocess.Popen([soak.chosen.peers, "churn", TARGET, str(seconds),
                                  str(soak.chosen.rate)],
                                 stdout=subprocess.PIPE, text=True)
    threads = [soak.each(KILL_EVERY - DEAD_FOR, soak.kill_a_node),
               soak.each(RELOAD_EVERY, soak.reload)]
    try:
        samples = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            samples.append(soak.resident_kb())
        out, _ = churn.communicate(timeout=60)
    finally:
        soak.over.set()
        churn.kill()
        for thread in threads:
            thread.join()
    # A reload takes memory for a moment; a leak is there all the time.
    warm = min(60, len(samples) // 2)
    part = min(15, warm // 2)
    first, last = (int(statistics.median(some))
                   for some in (samples[warm - part:warm], samples[-part:]))
    return json.loads(out), first, last


def body(undo, chosen):
    """Whether everything holds."""
    soak = Soak(undo, chosen)
    results = []

    def hold(claim, good, saw):
        results.append(good)
        print(f"{'PASS' if good else 'FAIL'}   {claim}  {saw}", flush=True)

    before = soak.descriptors()
    try:
        report, first, last = load(soak)
    except Ended as error:
        hold(LIVES, False, str(error))
        return False
    print(f"{chosen.seconds} s: {report}")
    hold(LIVES, True, f"for {chosen.seconds} s")
    hold(MEDDLED, not soak.problems and soak.kills > 0 and soak.reloads > 0,
         "; ".join(soak.problems)
         or f"{soak.kills} nodes killed, {soak.reloads} reloads")
    hold(MEMORY, last <= first * MAX_GROWTH,
         f"{first:,} kB after the first part, {last:,} kB in the end")
    hold_traffic(hold, report, chosen)
    hold_rest(hold, soak, before)
    return all(results)


def hold_traffic(hold, report, chosen):
    """What the clients saw."""
    hold(ORDER, report["disordered"] == 0, f"{report['disordered']} did not")
    hold(FOREIGN, report["foreign"] == 0, f"{report['foreign']} did not")
    hold(RETURNED, report["returned"] >= report["sent"] * chosen.returned,
         f"{report['returned'] / report['sent']:.1%} (at least {chosen.returned:.0%})")
    hold(STREAMS, report["tcp_failed"] <= report["tcp_flows"] * chosen.failed,
         f"{report['tcp_failed']} of {report['tcp_flows']} (at most {chosen.failed:.0%}: those "
         "that the dead node carried)")


def hold_rest(hold, soak, descriptors):
    """What is left when the clients are gone."""
    began = time.monotonic()
    with contextlib.suppress(net.NoAnswer):
        net.wait_for(lambda: soak.open_flows() == 0, soak.chosen.quiet)
    left, took = soak.open_flows(), time.monotonic() - began
    hold(SESSIONS, left == 0, f"{left} left {took:.0f} s after the load ended")
    more = soak.descriptors() - descriptors
    hold(DESCRIPTORS, more <= soak.chosen.spare, f"{more} more than before")
    (cpu, wakes), began = soak.spent(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    passed = time.monotonic() - began
    cpu, wakes = ((after - before) / passed
                  for after, before in zip(soak.spent(), (cpu, wakes)))
    hold(CPU, cpu < MAX_IDLE_CPU, f"{cpu:.2%}")
    hold(WAKES, wakes <= 1, f"{wakes:.1f} wake-ups a second")


def main():
    """Exit code 0 if everything holds."""
    parser = argparse.ArgumentParser(prog="lab/soak.py", description=__doc__)
    parser.add_argument("--dae", metavar="PATH", default=f"{ROOT}/target/release/dae")
    parser.add_argument("--peers", metavar="PATH",
                        default=f"{ROOT}/target/release/examples/flow_peers")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rate", type=int, default=2048, help="new UDP flows a second")
    parser.add_argument("--returned", type=float, default=0.5, help="datagrams that must")
    parser.add_argument("--failed", type=float, default=0.1, help="TCP flows that may")
    parser.add_argument("--spare", type=int, default=4, help="descriptors that may be kept")
    parser.add_argument("--quiet", type=int, default=60,
                        help="seconds within which all sessions must have ended")
    parser.add_argument("--sabotage", choices=soak_sabotage.WAYS, default="none",
                        help="break something on purpose, to see claims fail (lab/redcheck)")
    chosen = parser.parse_args()
    if chosen.seconds < KILL_EVERY:
        parser.error(f"--seconds {chosen.seconds}: in less than {KILL_EVERY} no node comes and goes")
    sys.exit(net.guarded(home.NAMESPACES, lambda undo: body(undo, chosen)))


if __name__ == "__main__":
    main()
