#!/usr/bin/env python3
"""Direct path: forwarding with our program on the LAN device against forwarding without it.

One continuous iperf3 flow from the client to a server; our program, with the lab's rules, is
put on and taken off in random order, and what arrives at the far side is counted. Packets are
of MTU size also for TCP (no segmentation offload), the worst case for a cost per packet.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from lab import bpf, home, net  # noqa: E402
from lab.daemon import Daemon  # noqa: E402

BAR = 0.95
PORT = 5201
LONG = 3600  # seconds; the flow is ended when the rounds are done


class Switch:
    """Our program on the LAN device, on or off; the daemon that loaded it goes on living."""

    def __init__(self):
        with net.inside(home.ROUTER):
            links = json.loads(net.run(home.ROUTER, "ip", "-j", "link", "show", home.LAN))
            self._device = links[0]["ifindex"]
            attached = bpf.programs(self._device)
            if len(attached) != 1:
                raise net.LabError(f"one TCX program expected on {home.LAN}, not {attached}")
            program, link = attached[0]
            self._program = bpf.open_program(program)
            bpf.detach_link(link)
        self._on = False

    def turn(self, on):
        """Puts the program on or takes it off; nothing to do if it is so already."""
        if on != self._on:
            with net.inside(home.ROUTER):
                (bpf.attach if on else bpf.detach)(self._program, self._device)
            self._on = on


def received():
    """Bytes that the provider's side of the router has received."""
    with net.inside(home.INTERNET), open("/proc/thread-self/net/dev", encoding="ascii") as file:
        for line in file:
            name, _, numbers = line.partition(":")
            if name.strip() == "isp0":
                return int(numbers.split()[0])
    raise net.LabError("isp0 is gone")


def rate(seconds):
    """Bytes per second that arrive just now."""
    time.sleep(seconds / 10)  # what was under way during the switch
    bytes_before, began = received(), time.monotonic()
    time.sleep(seconds)
    return (received() - bytes_before) / (time.monotonic() - began)


def rounds(switch, count, seconds):
    """Per round the rates (with, without), which of them first by chance."""
    found = []
    for _ in range(count):
        pair = {}
        for on in random.sample((True, False), 2):
            switch.turn(on)
            pair[on] = rate(seconds)
        found.append((pair[True], pair[False]))
    return found


def measure(name, options, switch, count, seconds):
    """One continuous flow; prints a line; whether the bar holds."""
    argv = ["iperf3", "-J", "-c", home.srv(4, home.PLAIN), "-p", str(PORT), "-t", str(LONG),
            *options]
    with net.inside(home.CLIENT):
        flow = subprocess.Popen(argv, text=True, stdout=subprocess.PIPE)
    try:
        time.sleep(1.5)  # connected, and out of slow start
        pairs = rounds(switch, count, seconds)
        if flow.poll() is not None:
            raise net.LabError(f"the flow ended early: {flow.stdout.read()[-500:]}")
        flow.send_signal(signal.SIGINT)  # iperf3 ends with a report of what it has
        report = json.loads(flow.communicate(timeout=30)[0])
    finally:
        flow.kill()
    ratios = sorted(on / off for on, off in pairs)
    median = statistics.median(ratios)
    end = report["end"]
    sent = end.get("sum_sent") or end["sum"]
    print(f"{name}: with / without = {median:.3f} (bar {BAR}), quartiles "
          f"{ratios[count // 4]:.3f} {ratios[count * 3 // 4]:.3f}, {count} rounds; without "
          f"{statistics.median(off for _, off in pairs) * 8 / 1e9:.2f} Gbit/s; iperf3 sent "
          f"{sent['bytes'] / 1e9:.1f} GB  {'PASS' if median >= BAR else 'FAIL'}", flush=True)
    return median >= BAR


def bench(undo, chosen):
    """Builds the network, starts dae and iperf3; whether both bars hold."""
    os.nice(-20)  # us and what we start: other work of this machine is not to be measured
    folder = net.temp_folder(undo)
    home.build(undo)
    net.run(home.CLIENT, "ip", "link", "set", "eth0", "gso_max_size", "1600")
    net.start(undo, home.INTERNET, ["iperf3", "-s", "-B", home.srv(4, home.PLAIN), "-p", str(PORT)],
              os.path.join(folder, "iperf3.log"), lambda: net.bound(home.INTERNET, PORT))
    daemon = Daemon(chosen.dae, folder, "tcx")
    undo.add("dae", daemon.stop)
    daemon.start()
    switch = Switch()
    results = [measure(name, words, switch, chosen.rounds, chosen.seconds)
               for name, words in (("TCP", ["-w", "256K"]), ("UDP", ["-u", "-b", "0", "-l", "1400"]))]
    return all(results)


def main():
    """Exit code 0 if the bars hold."""
    parser = argparse.ArgumentParser(prog="lab/bench_direct.py", description=__doc__)
    parser.add_argument("--dae", metavar="PATH", default=f"{ROOT}/target/release/dae")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.25, help="per half of a round")
    chosen = parser.parse_args()
    sys.exit(net.guarded(home.NAMESPACES, lambda undo: bench(undo, chosen)))


if __name__ == "__main__":
    main()
