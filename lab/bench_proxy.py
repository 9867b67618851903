#!/usr/bin/env python3
"""Proxied flows: dae in front of a SOCKS5 server against bare relays and plain forwarding.

Client, router and server are namespaces of one machine and share its cores. The server takes
bytes, answers the first one, and echoes datagrams; the bare relays do nothing but move them
(benches/flow_peers). In every round each has its turn; ratios are of one round, and their
median is held to the bar; of throughput, the best round of each.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from lab import home, net  # noqa: E402
from lab.daemon import Daemon  # noqa: E402

PROXIED = home.srv(4, home.BY_PREFIX)
SINK = f"{home.srv(4, home.SOCKS)}:{home.SOCKS_PORT}"
RELAY = home.lan(4, home.ROUTER_LAN)
SPLICE, SHUTTLE = f"{RELAY}:4001", f"{RELAY}:4002"

MAX_CPU_PER_GB = 1.15
MIN_THROUGHPUT = {1: 0.75, 16: 0.9}
# Where client, relay and server share two cores, a relay that does nothing but splice stays below
# that: every byte passes TCP twice. Then it is the bar, but for what its own runs differ by.
MIN_OF_BARE = 0.9
MIN_CONNECTIONS = 0.4
MIN_DATAGRAMS = 0.7
HELD, MAX_HELD_KB = 1000, 6 * 1024
RELOADS, NAMES, MAX_RELOAD_MS = 10, 10_000, 300

CONFIG = f"""config dae 'main'
\toption enabled '1'
\tlist interface '{home.LAN}'
\toption default_outbound 'direct'

config dns 'dns'
\toption enabled '0'

config node 'sink'
\toption url 'socks5://{SINK}'

config rule
\toption name 'proxied'
\tlist dest_ip '203.0.113.32/28'
\toption outbound 'sink'
"""


class Bench:
    """The network, the server, dae and the bare relays."""

    def __init__(self, undo, chosen):
        self.chosen = chosen
        self.folder = net.temp_folder(undo)
        home.build(undo)
        for name in home.NAMESPACES:
            # As OpenWrt has it, or nearly: others pace, which costs timers.
            net.run(name, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")
        for name in (home.CLIENT, home.ROUTER):
            # A minute's worth of closed connections must not use up the ports.
            net.run(name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65535",
                    "net.ipv4.tcp_tw_reuse=1")
        self._start(undo, home.INTERNET, "sink", SINK)
        self.splice = self._start(undo, home.ROUTER, "splice", SPLICE, SINK)
        self.shuttle = self._start(undo, home.ROUTER, "shuttle", SHUTTLE, SINK, kind="u")
        self.dae = Daemon(chosen.dae, self.folder)
        self.dae.configure(CONFIG)
        undo.add("dae", self.dae.stop)
        self.dae.start()

    def _start(self, undo, namespace, what, listen, *rest, kind="t"):
        port = int(listen.rpartition(":")[2])
        return net.start(undo, namespace, [self.chosen.peers, what, listen, *rest],
                         f"{self.folder}/{what}.log", lambda: net.bound(namespace, port, kind))

    def client(self, *words):
        """Runs a peer in the client's namespace; the numbers that it prints."""
        said = net.run(home.CLIENT, self.chosen.peers, *words, str(self.chosen.seconds),
                       timeout=self.chosen.seconds + 60)
        return [float(word) for word in said.split()]

    def alternate(self, *ways):
        """Runs every way in every round: lists of results, one per way."""
        return list(zip(*[[way() for way in ways] for _ in range(self.chosen.rounds)]))


def cpu_seconds(pid):
    """CPU time of a process with all threads it ever had."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(pid):
    """Resident memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


def ratio(ours, theirs):
    """The median over the rounds."""
    return statistics.median(one / other for one, other in zip(ours, theirs))


def told(good, text):
    """Prints a measurement; whether its bar holds."""
    print(f"{text}  {'PASS' if good else 'FAIL'}", flush=True)
    return good


def cost(bench):
    """CPU time per gigabyte, one stream."""
    def run(pid, to):
        before = cpu_seconds(pid)
        rate, = bench.client("bytes", to, "1")
        return (cpu_seconds(pid) - before) / (rate * bench.chosen.seconds / 1e9), rate

    dae, bare = bench.alternate(lambda: run(bench.dae.pid, f"{PROXIED}:9"),
                                lambda: run(bench.splice.pid, SPLICE))
    value = ratio([each for each, _ in dae], [each for each, _ in bare])
    middle = statistics.median
    return told(value <= MAX_CPU_PER_GB,
                f"CPU per GB, to a bare relay: {value:.2f} (bar {MAX_CPU_PER_GB}); dae "
                f"{middle(each for each, _ in dae):.2f} s at "
                f"{middle(rate for _, rate in dae) * 8 / 1e9:.1f} Gbit/s, bare "
                f"{middle(each for each, _ in bare):.2f} s at "
                f"{middle(rate for _, rate in bare) * 8 / 1e9:.1f}")


def throughput(bench, streams):
    """Bytes per second, to plain forwarding; the best round of each, as others only slow down."""
    def run(to):
        return bench.client("bytes", to, str(streams))[0]

    dae, plain, bare = bench.alternate(lambda: run(f"{PROXIED}:9"), lambda: run(f"socks5:{SINK}"),
                                       lambda: run(SPLICE))
    best = [max(each) * 8 / 1e9 for each in (dae, plain, bare)]
    value, least = best[0] / best[1], best[2] / best[1]
    limit = min(MIN_THROUGHPUT[streams], MIN_OF_BARE * least)
    return told(value >= limit,
                f"bytes per second in {streams} streams, to plain forwarding: {value:.2f} "
                f"(bar {MIN_THROUGHPUT[streams]}, or {MIN_OF_BARE} of the bare relay's "
                f"{least:.2f}); dae {best[0]:.1f} Gbit/s, plain {best[1]:.1f}, bare relay "
                f"{best[2]:.1f}")


def connections(bench):
    """Connections per second, to plain forwarding."""
    def run(to):
        return bench.client("connections", to, "16")[0]

    dae, plain, bare = bench.alternate(lambda: run(f"{PROXIED}:9"), lambda: run(f"socks5:{SINK}"),
                                       lambda: run(SPLICE))
    value = ratio(dae, plain)
    return told(value >= MIN_CONNECTIONS,
                f"new connections per second, to plain forwarding: {value:.2f} "
                f"(bar {MIN_CONNECTIONS}); dae {statistics.median(dae):,.0f}, plain "
                f"{statistics.median(plain):,.0f}, bare relay {statistics.median(bare):,.0f}")


def datagrams(bench):
    """Datagrams per second there and back, to a bare relay."""
    def run(pid, to):
        before = cpu_seconds(pid)
        rate, refills = bench.client("datagrams", to, "8")
        return rate, (cpu_seconds(pid) - before) / (rate * bench.chosen.seconds) * 1e6, refills

    dae, bare = bench.alternate(lambda: run(bench.dae.pid, f"{PROXIED}:9"),
                                lambda: run(bench.shuttle.pid, SHUTTLE))
    value = ratio([each[0] for each in dae], [each[0] for each in bare])
    middle = statistics.median
    return told(value >= MIN_DATAGRAMS,
                f"datagrams there and back per second, to a bare relay: {value:.2f} "
                f"(bar {MIN_DATAGRAMS}); dae {middle(each[0] for each in dae):,.0f} at "
                f"{middle(each[1] for each in dae):.1f} us, bare "
                f"{middle(each[0] for each in bare):,.0f} at "
                f"{middle(each[1] for each in bare):.1f} us; windows lost "
                f"{sum(each[2] for each in dae):.0f} and {sum(each[2] for each in bare):.0f}")


def held(bench):
    """Memory of connections that do nothing."""
    before = resident_kb(bench.dae.pid)
    with net.inside(home.CLIENT):
        holder = subprocess.Popen([bench.chosen.peers, "hold", f"{PROXIED}:9", str(HELD)],
                                  stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout.readline().strip() != str(HELD):
            raise net.LabError("not all connections were opened")
        grown = resident_kb(bench.dae.pid) - before
    finally:
        holder.kill()
    return told(grown <= MAX_HELD_KB,
                f"resident memory of {HELD:,} idle flows: {grown:,} kB (bar {MAX_HELD_KB:,})")


def reload(bench):
    """Time of a reload that changes rules with many names: reading, compiling, loading."""
    names = "".join(f"\tlist domain 'n{at}.example'\n" for at in range(NAMES))
    rule = f"\nconfig rule\n\toption name 'many'\n{names}\toption outbound 'sink'\n"
    took, paused = [], []
    for count in range(RELOADS):
        one = f"\nconfig rule\n\tlist dest_ip '198.18.0.{count}'\n\toption outbound 'block'\n"
        bench.dae.configure(CONFIG + rule + one)
        done = bench.dae.command("reload")
        if done.returncode != 0:
            raise net.LabError(f"dae reload: {done.stderr.strip()}")
        last = bench.dae.status()["reload"]["last"]
        took.append(last["took_ms"])
        paused.append(last["paused_ms"])
    value = statistics.median(took)
    return told(value <= MAX_RELOAD_MS,
                f"reload with {NAMES:,} names: {value:.0f} ms (bar {MAX_RELOAD_MS}), of these "
                f"{statistics.median(paused):.1f} ms in which queries wait")


def body(undo, chosen):
    """Whether all bars hold."""
    bench = Bench(undo, chosen)
    parts = {
        # First: later ones leave memory that the allocator keeps.
        "held": lambda: held(bench),
        "cost": lambda: cost(bench),
        "bytes-1": lambda: throughput(bench, 1),
        "bytes-16": lambda: throughput(bench, 16),
        "connections": lambda: connections(bench),
        "datagrams": lambda: datagrams(bench),
        "reload": lambda: reload(bench),
    }
    wanted = [part for name, part in parts.items() if re.search(chosen.only, name)]
    return all([part() for part in wanted])


def main():
    """Exit code 0 if the bars hold."""
    parser = argparse.ArgumentParser(prog="lab/bench_proxy.py", description=__doc__)
    parser.add_argument("--dae", metavar="PATH", default=f"{ROOT}/target/release/dae")
    parser.add_argument("--peers", metavar="PATH",
                        default=f"{ROOT}/target/release/examples/flow_peers")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--seconds", type=int, default=4, help="of one turn")
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="held, cost, bytes-1, bytes-16, connections, datagrams, reload")
    chosen = parser.parse_args()
    sys.exit(net.guarded(home.NAMESPACES, lambda undo: body(undo, chosen)))


if __name__ == "__main__":
    main()
