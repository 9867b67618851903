#!/usr/bin/env python3
"""DNS and idle cost: instructions per cached answer (callgrind), memory, threads, wake-ups."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from lab import home, net, peers  # noqa: E402
from lab.daemon import Daemon  # noqa: E402
from lab.resolver import Resolver  # noqa: E402

MAX_INSTRUCTIONS, MAX_RSS_KB, MAX_THREADS = 5000, 8 * 1024, 3
MAX_WAKE_UPS = 10
PORT = 5354
COUNT = 2000

_CONFIG = f"""config dae 'main'
	option enabled '1'

config dns 'dns'
	list listen '127.0.0.1:{PORT}'
	option upstream 'isp'

config upstream 'isp'
	option url 'udp://{home.wan(4, home.RESOLVER)}'
"""


def bar(text, value, limit, unit=""):
    """Prints a measurement against its bar; whether it holds."""
    print(f"{text}: {value:,}{unit} (bar {limit:,}{unit})  {'PASS' if value <= limit else 'FAIL'}",
          flush=True)
    return value <= limit


def instructions(binary, folder, config, count, at_once):
    """User instructions of a whole run that answers `count` cached queries."""
    counted = os.path.join(folder, "callgrind.out")
    log = os.path.join(folder, "callgrind.log")
    with open(log, "wb") as output, net.inside(home.ROUTER):
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", binary, "run",
             "-c", config, "-r", os.path.join(folder, "run-callgrind")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        if not net.wait_for(_answers, 60, process):
            with open(log, encoding="utf-8", errors="replace") as text:
                raise net.LabError(f"dae under callgrind does not answer:\n{text.read()[-2000:]}")
        names = peers.write(folder, "names", "cached.example A\n")
        report = net.run(home.ROUTER, "dnsperf", "-s", "127.0.0.1", "-p", str(PORT), "-d", names,
                         "-n", str(count), "-c", "1", "-q", str(at_once), timeout=300)
        completed = int(re.search(r"Queries completed:\s+(\d+)", report)[1])
        if completed != count:
            raise net.LabError(f"{completed} of {count} queries answered")
    finally:
        net.stop(process, signal.SIGTERM, 60)
    with open(counted, encoding="utf-8") as file:
        return int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)[1])


def _answers():
    return "203.0.113" in net.run(home.ROUTER, "dig", "@127.0.0.1", "-p", str(PORT),
                                  "cached.example", "+short", "+tries=1", "+time=1", check=False)


def cached_answer(binary, folder, at_once):
    """Instructions per cached answer: the difference between two runs, start and end cancel."""
    config = peers.write(folder, "dns.conf", _CONFIG)
    few = instructions(binary, folder, config, COUNT, at_once)
    many = instructions(binary, folder, config, 2 * COUNT, at_once)
    return (many - few) // COUNT


def idle(undo, binary, folder):
    """dae with the lab's configuration, left alone: RSS in kB, threads, wake-ups in 10 s."""
    daemon = Daemon(binary, folder)
    undo.add("dae", daemon.stop)
    daemon.start()
    time.sleep(3)
    wake_ups = _wake_ups(daemon.pid, 10)
    status = _status(f"/proc/{daemon.pid}")
    daemon.stop()
    return status["VmRSS"], status["Threads"], wake_ups


def _status(folder):
    """The numbers of /proc/.../status."""
    with open(f"{folder}/status", encoding="ascii") as file:
        return {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+)", file.read(), re.M)}


def _wake_ups(pid, seconds):
    """How often it woke: tenths of a second in which one of its threads went to sleep again."""
    counts = []
    for _ in range(seconds * 10 + 1):
        counts.append([_status(f"/proc/{pid}/task/{thread}")["voluntary_ctxt_switches"]
                       for thread in os.listdir(f"/proc/{pid}/task")])
        time.sleep(0.1)
    return sum(before != after for before, after in zip(counts, counts[1:]))


def bench(undo, chosen):
    """Whether all bars hold."""
    folder = net.temp_folder(undo)
    home.build(undo)
    Resolver(undo, "main", [home.wan(4, home.RESOLVER)])
    peers.start_unbound(undo, folder)
    rss, threads, wake_ups = idle(undo, chosen.dae, folder)
    return all([
        bar("idle RSS", rss, MAX_RSS_KB, " kB"),
        bar("threads", threads, MAX_THREADS),
        bar("wake-ups in 10 s, idle", wake_ups, MAX_WAKE_UPS),
        bar("user instructions per cached answer, 50 queries at once",
            cached_answer(chosen.dae, folder, 50), MAX_INSTRUCTIONS),
        bar("user instructions per cached answer, one at a time",
            cached_answer(chosen.dae, folder, 1), MAX_INSTRUCTIONS),
    ])


def main():
    """Exit code 0 if the bars hold."""
    parser = argparse.ArgumentParser(prog="lab/bench_dns.py", description=__doc__)
    parser.add_argument("--dae", metavar="PATH", default=f"{ROOT}/target/release/dae")
    chosen = parser.parse_args()
    sys.exit(net.guarded(home.NAMESPACES, lambda undo: bench(undo, chosen)))


if __name__ == "__main__":
    main()
