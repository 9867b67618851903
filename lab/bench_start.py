#!/usr/bin/env python3
"""A start with 10,000 domain rules: when the first packet is judged, and the memory it takes.

A client sends a datagram every half millisecond to an address that a rule blocks. Until dae hangs
on the LAN's device they arrive; the first that does not was judged. Memory is that of the kernel's
books: the peak until then, and what is resident when nothing has happened for a while.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from lab import home, net  # noqa: E402
from lab.daemon import Daemon  # noqa: E402

BLOCKED, PORT = home.srv(4, home.BY_PREFIX), 9
NAMES = 10_000
PAUSE = 0.0005
PATIENCE = 5
IDLE = 3

MAX_START_MS, MAX_PEAK_KB, MAX_IDLE_KB = 150, 10 * 1024, 6 * 1024

CONFIG = f"""config dae 'main'
\toption enabled '1'
\tlist interface '{home.LAN}'
\toption default_outbound 'direct'

config dns 'dns'
\toption upstream 'isp'

config upstream 'isp'
\toption url 'tcp+udp://{home.wan(4, home.RESOLVER)}'

config node 'proxy'
\toption url 'socks5://{home.srv(4, home.SOCKS)}:{home.SOCKS_PORT}'

config rule
\toption name 'many'
{"".join(f"{chr(9)}list domain 'n{at}.example'{chr(10)}" for at in range(NAMES))}\toption outbound 'proxy'

config rule
\toption name 'blocked'
\tlist dest_ip '{BLOCKED}'
\toption outbound 'block'
"""


class Stream:
    """Numbered datagrams from the client, and which of them arrive."""

    def __init__(self):
        self.sent = []
        self.arrived = set()
        self.over = False
        self._out = net.open_socket(home.CLIENT, socket.AF_INET, socket.SOCK_DGRAM)
        self._in = net.listener(home.INTERNET, socket.SOCK_DGRAM, BLOCKED, PORT)
        self._in.settimeout(0.2)
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        while not self.over:
            self.sent.append(time.monotonic())
            self._out.sendto(str(len(self.sent) - 1).encode(), (BLOCKED, PORT))
            time.sleep(PAUSE)

    def _receive(self):
        while not self.over:
            try:
                self.arrived.add(int(self._in.recv(64)))
            except TimeoutError:
                pass

    def stops(self):
        """Whether nothing has arrived for some time."""
        return len(self.sent) - max(self.arrived, default=0) > 100

    def end(self):
        """Sends no more."""
        self.over = True
        for thread in self._threads:
            thread.join()
        self._out.close()
        self._in.close()

    def first_blocked(self):
        """When the first was sent behind which none arrived."""
        return self.sent[max(self.arrived) + 1]


def memory_kb(pid):
    """Lines of /proc/PID/status that speak of memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return {name: int(kb) for name, kb in re.findall(r"^(\w+):\s+(\d+) kB$", file.read(),
                                                         re.MULTILINE)}


def start(dae):
    """One start: milliseconds from exec to the first packet judged, and its memory."""
    stream = Stream()
    if not net.wait_for(lambda: len(stream.arrived) > 10, PATIENCE):
        stream.end()
        raise net.LabError("datagrams do not arrive without dae")
    with open(dae.log, "ab") as log, net.inside(home.ROUTER):
        began = time.monotonic()
        process = subprocess.Popen(
            [dae.binary, "run", "-c", dae.config, "-r", dae.run_dir, "--state-dir", dae.state_dir],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        stopped = net.wait_for(stream.stops, PATIENCE, process)
        stream.end()
        if not stopped:
            raise net.LabError(f"nothing was blocked; the last lines:\n{dae.log_tail()}")
        judged = stream.first_blocked()
        peak = memory_kb(process.pid)["VmHWM"]
        time.sleep(IDLE)
        return (judged - began) * 1000, peak, memory_kb(process.pid)
    finally:
        net.stop(process)


def told(good, text):
    """Prints a measurement; whether its bar holds."""
    print(f"{text}  {'PASS' if good else 'FAIL'}", flush=True)
    return good


def body(undo, chosen):
    """Whether all bars hold."""
    folder = net.temp_folder(undo)
    home.build(undo)
    dae = Daemon(chosen.dae, folder)
    dae.configure(CONFIG)
    took, peaks, last = zip(*[start(dae) for _ in range(chosen.rounds)])
    middle = statistics.median(took)
    idle = statistics.median(each["VmRSS"] for each in last)
    file, anonymous = (statistics.median(each[name] for each in last)
                       for name in ("RssFile", "RssAnon"))
    return all([
        told(middle <= MAX_START_MS,
             f"start to the first packet judged, {NAMES:,} names: {middle:.0f} ms "
             f"(bar {MAX_START_MS}), {min(took):.0f} to {max(took):.0f}"),
        told(max(peaks) <= MAX_PEAK_KB,
             f"peak of memory until then: {max(peaks):,} kB (bar {MAX_PEAK_KB:,})"),
        told(idle <= MAX_IDLE_KB,
             f"resident when idle: {idle:,.0f} kB (bar {MAX_IDLE_KB:,}); the program's own "
             f"pages {file:,.0f}, its data {anonymous:,.0f}"),
    ])


def main():
    """Exit code 0 if the bars hold."""
    parser = argparse.ArgumentParser(prog="lab/bench_start.py", description=__doc__)
    parser.add_argument("--dae", metavar="PATH", default=f"{ROOT}/target/release/dae")
    parser.add_argument("--rounds", type=int, default=9, help="starts")
    chosen = parser.parse_args()
    sys.exit(net.guarded(home.NAMESPACES, lambda undo: body(undo, chosen)))


if __name__ == "__main__":
    main()
