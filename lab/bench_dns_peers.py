#!/usr/bin/env python3
"""DNS side by side: dae, dnsmasq, unbound and smartdns in turn, in one namespace, on one core.

The server has a core of its own; dnsperf and the upstream (benches/dns_upstream.rs) share the
others. What counts is the CPU time of the server, user and kernel, per answered query. In every
round each server has its turn; ratios are of one round, and their median is held to the bar.
"""

import argparse
import collections
import os
import re
import signal
import statistics
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from lab import net, peers  # noqa: E402

NAMESPACE = "dae-bench"
PORT, UPSTREAM, UPSTREAM_TLS = 5354, 5300, 8853
DELAY_MS = 20
RATE = 5000

MAX_TO_DNSMASQ, MAX_TO_SMARTDNS = 0.7, 0.9
# The second counts where the machine cannot show the first, as a bare relay is too slow for it.
MAX_P99_MS, MAX_P99_TO_RELAY = 23.0, 1.15
MAX_CACHED_INSTRUCTIONS, MAX_FORWARDED_INSTRUCTIONS = 2000, 9000
COUNTED = 4000  # queries of the shorter run under callgrind

TRANSPORTS = ("UDP", "TCP", "DoT")
SERVERS = ("dae", "dnsmasq", "unbound", "smartdns")

Run = collections.namedtuple("Run", "queries answered lost rate cpu_us p99_ms")


def dae(chosen, folder, transport):
    """Its command line. One client asks all: the bound for a single one is lifted."""
    url = {"UDP": f"udp://127.0.0.1:{UPSTREAM}", "TCP": f"tcp://127.0.0.1:{UPSTREAM}",
           "DoT": f"tls://127.0.0.1:{UPSTREAM_TLS}"}[transport]
    tls = f"\toption ca '{folder}/cert.pem'\n" if transport == "DoT" else ""
    config = peers.write(folder, "dae.conf", f"""config dae 'main'
\toption enabled '1'

config dns 'dns'
\tlist listen '127.0.0.1:{PORT}'
\tlist upstream 'up'
\toption cache_bytes '8388608'
\toption max_queries '4096'
\toption max_client_queries '4096'

config upstream 'up'
\toption url '{url}'
{tls}""")
    return [chosen.dae, "run", "-c", config, "-r", f"{folder}/run"]


def dnsmasq(_chosen, folder, _transport):
    """It knows UDP only."""
    config = peers.write(folder, "dnsmasq.conf", f"""no-resolv
no-hosts
user=root
bind-interfaces
listen-address=127.0.0.1
port={PORT}
server=127.0.0.1#{UPSTREAM}
cache-size=10000
dns-forward-max=4096
""")
    return ["dnsmasq", "-k", "-C", config]


def unbound(_chosen, folder, transport):
    """One thread, as all the others."""
    forward = {"UDP": f"forward-addr: 127.0.0.1@{UPSTREAM}",
               "TCP": f"forward-addr: 127.0.0.1@{UPSTREAM}\n  forward-tcp-upstream: yes",
               "DoT": f"forward-addr: 127.0.0.1@{UPSTREAM_TLS}\n  forward-tls-upstream: yes"}
    config = peers.write(folder, "unbound.conf", f"""server:
  interface: 127.0.0.1@{PORT}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  num-threads: 1
  num-queries-per-thread: 4096
  outgoing-range: 8192
  tls-cert-bundle: "{folder}/cert.pem"
forward-zone:
  name: "."
  {forward[transport]}
remote-control:
  control-enable: no
""")
    return ["unbound", "-d", "-c", config]


def smartdns(_chosen, folder, transport):
    """Without speed checks, which would ask more than it is asked."""
    server = {"UDP": f"server 127.0.0.1:{UPSTREAM}", "TCP": f"server-tcp 127.0.0.1:{UPSTREAM}",
              "DoT": f"server-tls 127.0.0.1:{UPSTREAM_TLS} -no-check-certificate"}
    config = peers.write(folder, "smartdns.conf", f"""bind 127.0.0.1:{PORT}
user root
{server[transport]}
cache-size 32768
cache-persist no
speed-check-mode none
dualstack-ip-selection no
prefetch-domain no
serve-expired no
max-query-limit 65535
log-level error
log-file {folder}/smartdns.log
audit-enable no
""")
    return ["smartdns", "-f", "-x", "-c", config, "-p", f"{folder}/smartdns.pid"]


def relay(chosen, _folder, _transport):
    """Nothing but receive and send, by UDP whatever is asked for (benches/dns_relay.rs)."""
    return [chosen.relay, f"127.0.0.1:{PORT}", f"127.0.0.1:{UPSTREAM}"]


COMMANDS = {"dae": dae, "dnsmasq": dnsmasq, "unbound": unbound, "smartdns": smartdns,
            "relay": relay}


class Bench:
    """The namespace with its upstream; servers come and go."""

    def __init__(self, undo, chosen):
        self.chosen = chosen
        self.folder = net.temp_folder(undo)
        self.serial = 0
        self.cores = os.cpu_count() or 1
        net.add_namespace(undo, NAMESPACE)
        # It vouches for itself and for nobody else.
        config = peers.write(self.folder, "cert.conf", "[req]\ndistinguished_name = name\n"
                             "x509_extensions = leaf\nprompt = no\n[name]\nCN = bench\n[leaf]\n"
                             "basicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n")
        net.run_here("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                     "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-config", config,
                     "-keyout", f"{self.folder}/key.pem", "-out", f"{self.folder}/cert.pem")
        argv = [chosen.upstream, f"127.0.0.1:{UPSTREAM}", str(DELAY_MS),
                f"127.0.0.1:{UPSTREAM_TLS}", f"{self.folder}/cert.pem", f"{self.folder}/key.pem"]
        net.start(undo, NAMESPACE, self._elsewhere(argv), f"{self.folder}/upstream.log",
                  lambda: net.bound(NAMESPACE, UPSTREAM))

    def _elsewhere(self, argv):
        """On the cores that the server does not have."""
        return ["taskset", "-c", f"1-{self.cores - 1}", *argv] if self.cores > 1 else argv

    def names(self, count, unique=True):
        """A file of questions; unique ones are asked once in the whole bench."""
        self.serial += 1 if unique else 0
        prefix = f"s{self.serial}" if unique else "cached"
        lines = "".join(f"n{at}.{prefix}.c{at % 97}.example A\n" for at in range(count))
        return peers.write(self.folder, f"names-{prefix}-{count}", lines)

    def serve(self, undo, server, transport, wrapper=()):
        """Starts a server; its process id."""
        argv = ["taskset", "-c", "0", *wrapper,
                *COMMANDS[server](self.chosen, self.folder, transport)]
        process = net.start(undo, NAMESPACE, argv, f"{self.folder}/{server}.log", self._answers)
        return process.pid

    @staticmethod
    def _answers():
        text = net.run(NAMESPACE, "dig", "@127.0.0.1", "-p", str(PORT), "ready.example", "+short",
                       "+tries=1", "+time=1", check=False)
        return "198.18." in text

    def load(self, pid, *options, seconds, port=PORT):
        """Runs dnsperf with these options against the server; what came of it."""
        argv = self._elsewhere(["dnsperf", "-s", "127.0.0.1", "-p", str(port)])
        # Into a file: a pipe holds it up, and who reads it takes turns with the server.
        path = f"{self.folder}/dnsperf.out"
        before = cpu_ns(pid)
        net.run(NAMESPACE, "sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", path, *argv,
                *options, timeout=seconds + 60)
        spent = cpu_ns(pid) - before
        with open(path, encoding="utf-8") as report:
            return read(report.read(), spent)


def cpu_ns(pid):
    """CPU time of all threads of a process, nanoseconds."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


def read(report, spent):
    """The numbers of dnsperf's report; the p99 when it was told to be verbose."""
    def number(pattern):
        return float(re.search(pattern, report)[1])

    answered = int(number(r"NOERROR (\d+)")) if "NOERROR" in report else 0
    latencies = sorted(float(each) for each in
                       re.findall(r"^> NOERROR \S+ \S+ (\d+\.\d+)$", report, re.MULTILINE))
    p99 = latencies[len(latencies) * 99 // 100] * 1000 if latencies else None
    return Run(int(number(r"Queries sent:\s+(\d+)")), answered,
               int(number(r"Queries lost:\s+(\d+)")), number(r"Queries per second:\s+([\d.]+)"),
               spent / 1000 / max(answered, 1), p99)


def alternate(bench, servers, rounds, transport, load):
    """Every server in every round: CPU microseconds per answered query, round by round."""
    costs = collections.defaultdict(list)
    for _ in range(rounds):
        for server in servers:
            undo = net.Undo()
            try:
                run = load(bench.serve(undo, server, transport))
                costs[server].append(run.cpu_us)
                if run.answered < run.queries * 0.999:
                    print(f"  {server}: {run.answered} of {run.queries} answered", flush=True)
            finally:
                problems = undo.run()
            if problems:
                raise net.LabError("; ".join(problems))
    return costs


def told(costs):
    """Medians, the servers side by side."""
    return ", ".join(f"{server} {statistics.median(values):.2f}"
                     for server, values in costs.items())


def ratio(costs, peer):
    """The median of dae's cost by that of a peer in the same round."""
    return statistics.median(ours / theirs for ours, theirs in zip(costs["dae"], costs[peer]))


def bar(text, value, limit, unit=""):
    """Prints a measurement against its bar; whether it holds."""
    good = value <= limit
    print(f"{text}: {value:,.2f}{unit} (bar {limit:,}{unit})  {'PASS' if good else 'FAIL'}",
          flush=True)
    return good


def counted(bench, what, names, limit):
    """User instructions per query: the difference of two runs, so start and end cancel."""
    totals = []
    for count in (COUNTED, 2 * COUNTED):
        out = f"{bench.folder}/callgrind.{what}.{count}"
        undo = net.Undo()
        try:
            pid = bench.serve(undo, "dae", "UDP", ["valgrind", "--tool=callgrind",
                                             f"--callgrind-out-file={out}"])
            report = net.run(NAMESPACE, "dnsperf", "-s", "127.0.0.1", "-p", str(PORT), "-t", "30",
                             "-d", names(count), "-n", str(1 if what == "forwarded" else count),
                             "-c", "1", "-q", "50", timeout=300)
            # It writes when it ends, which takes its time.
            os.kill(pid, signal.SIGTERM)
            net.wait_for(lambda out=out: os.path.exists(out) and os.path.getsize(out), 60)
        finally:
            undo.run()
        if f"NOERROR {count} " not in report:
            raise net.LabError(f"not all of {count} queries were answered:\n{report}")
        with open(out, encoding="utf-8") as file:
            totals.append(int(re.search(r"^(?:summary|totals): (\d+)", file.read(),
                                        re.MULTILINE)[1]))
    return bar(f"user instructions per {what} query, 50 at once",
               (totals[1] - totals[0]) / COUNTED, limit)


def cached(bench):
    """Cached answers, as many as the server can give."""
    names = bench.names(100, unique=False)

    def load(pid):
        bench.load(pid, "-d", names, "-n", "2", seconds=10)
        return bench.load(pid, "-d", names, "-l", "4", "-c", "4", "-q", "100", seconds=4)

    costs = alternate(bench, SERVERS, bench.chosen.rounds, "UDP", load)
    print(f"CPU us per cached answer: {told(costs)}; to unbound {ratio(costs, 'unbound'):.2f}")
    return bar("CPU per cached answer, saturated, to dnsmasq", ratio(costs, "dnsmasq"),
               MAX_TO_DNSMASQ)


def forwarded(bench, transport):
    """Unique names, a hundred at a time."""
    servers = [server for server in SERVERS if server != "dnsmasq" or transport == "UDP"]

    def load(pid):
        return bench.load(pid, "-d", bench.names(20_000), "-n", "1", "-q", "100", seconds=20)

    costs = alternate(bench, servers, bench.chosen.rounds, transport, load)
    print(f"CPU us per forwarded query, {transport}: {told(costs)}; "
          f"to unbound {ratio(costs, 'unbound'):.2f}")
    return bar(f"CPU per forwarded query, {transport}, to smartdns", ratio(costs, "smartdns"),
               MAX_TO_SMARTDNS)


def steady_once(bench, server, transport):
    """5,000 fresh queries a second for half a minute. `nobody` is the upstream itself: what
    this machine and dnsperf take, whoever is measured."""
    seconds = bench.chosen.seconds
    undo = net.Undo()
    try:
        pid, port = os.getpid(), UPSTREAM
        if server != "nobody":
            pid, port = bench.serve(undo, server, transport), PORT
        names = bench.names(RATE * seconds)
        run = bench.load(pid, "-d", names, "-n", "1", "-Q", str(RATE), "-q", "4000", "-v",
                         seconds=seconds, port=port)
    finally:
        undo.run()
    os.unlink(names)
    print(f"  {server}: {run.rate:,.0f}/s, {run.lost} lost, "
          f"{run.queries - run.answered - run.lost} errors, p99 {run.p99_ms:.1f} ms, "
          f"CPU {run.cpu_us:.1f} us per query", flush=True)
    return run


def steady(bench, transport):
    """A bare relay, dae and smartdns in turn. Where the relay itself takes too long, it is the
    machine that is measured, and dae is held against the relay."""
    what = f"{RATE:,} fresh queries a second, {transport}"
    print(what)
    runs = collections.defaultdict(list)
    for _ in range(min(bench.chosen.rounds, 3)):
        for server in ("nobody", "relay", "dae", "smartdns"):
            runs[server].append(steady_once(bench, server, transport))
    # The best round of each: what disturbs the machine for a moment is in none of them.
    p99, relayed = (min(run.p99_ms for run in runs[server]) for server in ("dae", "relay"))
    lost = min(run.queries - run.answered for run in runs["dae"])
    limit = max(MAX_P99_MS, relayed * MAX_P99_TO_RELAY)
    fast = bar(f"{what}: p99, {relayed:.1f} with a bare relay", p99, round(limit, 1), " ms")
    return all([fast, bar(f"{what}: lost or error", lost, 0)])


def heavy(bench):
    """A home's worth of names, for a minute, from ten clients."""
    undo = net.Undo()
    try:
        pid = bench.serve(undo, "dae", "UDP")
        names = bench.names(1000, unique=False)
        seconds = 2 * bench.chosen.seconds
        run = bench.load(pid, "-d", names, "-c", "10", "-T", "2", "-l", str(seconds),
                         "-Q", str(RATE), seconds=seconds)
    finally:
        undo.run()
    print(f"1,000 names, ten clients: {run.rate:,.0f}/s, CPU {run.cpu_us:.1f} us per query")
    return bar("1,000 names, ten clients: lost or error", run.queries - run.answered, 0)


def body(undo, chosen):
    """Whether all bars hold."""
    bench = Bench(undo, chosen)
    one = peers.write(bench.folder, "one-name", "cached.example A\n")
    parts = {
        "counted-cached": lambda: counted(bench, "cached", lambda _: one,
                                          MAX_CACHED_INSTRUCTIONS),
        "counted-forwarded": lambda: counted(bench, "forwarded", bench.names,
                                             MAX_FORWARDED_INSTRUCTIONS),
        "cached": lambda: cached(bench),
    }
    for transport in TRANSPORTS:
        parts[f"forwarded-{transport}"] = lambda transport=transport: forwarded(bench, transport)
    for transport in TRANSPORTS:
        parts[f"steady-{transport}"] = lambda transport=transport: steady(bench, transport)
    parts["heavy"] = lambda: heavy(bench)
    wanted = [part for name, part in parts.items() if re.search(chosen.only, name)]
    return all([part() for part in wanted])


def main():
    """Exit code 0 if the bars hold."""
    parser = argparse.ArgumentParser(prog="lab/bench_dns_peers.py", description=__doc__)
    parser.add_argument("--dae", metavar="PATH", default=f"{ROOT}/target/release/dae")
    parser.add_argument("--upstream", metavar="PATH",
                        default=f"{ROOT}/target/release/examples/dns_upstream")
    parser.add_argument("--relay", metavar="PATH",
                        default=f"{ROOT}/target/release/examples/dns_relay")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every server")
    parser.add_argument("--seconds", type=int, default=30, help="of the steady load")
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="cached, forwarded-UDP, steady-TCP, heavy and so on")
    chosen = parser.parse_args()
    began = time.monotonic()
    code = net.guarded([NAMESPACE], lambda undo: body(undo, chosen))
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
