"""What a program can leave behind on the router, as text lines. Reads the kernel.

Compared before the start and after the end of the daemon. Counters, ages and the like are
left out; everything else counts, whoever set it.
"""

import json
import os
import re

from lab import bpf, home, net

# Sysctls that count or change by themselves.
_RESTLESS = re.compile(r"^net\.netfilter\.nf_conntrack_count|\.stable_secret|^net\.ipv4\.tcp_mem"
                       r"|^net\.core\.(bpf_jit|rps|netdev)|_tx_timeout")


def take(run_dir):
    """A dictionary of kind -> set of lines."""
    return {
        "device": _lines("ip", "-o", "link"),
        "address": _lines("ip", "-o", "address"),
        "qdisc": _lines("tc", "qdisc", "show"),
        "filter": _filters(),
        "tcx": _tcx(),
        "rule": _lines("ip", "-4", "rule") | _lines("ip", "-6", "rule"),
        "route": (_lines("ip", "-4", "route", "show", "table", "all")
                  | _lines("ip", "-6", "route", "show", "table", "all")),
        "sysctl": _sysctls(),
        "nftables": _lines("nft", "list", "ruleset"),
        "socket": _sockets(),
        "process": _processes(),
        "bpf file": _bpf_files(),
        "file": _files(run_dir),
    }


def differences(before, after):
    """Lines like "rule: + 2023: from all ...": what came (+) and what went (-)."""
    found = []
    for kind, lines in before.items():
        found += [f"{kind}: + {line}" for line in sorted(after[kind] - lines)]
        found += [f"{kind}: - {line}" for line in sorted(lines - after[kind])]
    return found


def _lines(*argv):
    text = net.run(home.ROUTER, *argv, check=False)
    lines = set()
    for line in text.splitlines():
        line = re.sub(r"expires \d+sec|valid_lft \w+|preferred_lft \w+", "", line)
        line = re.sub(r"packets \d+ bytes \d+", "", line)
        lines.add(" ".join(line.split()))
    return lines - {""}


def _devices():
    links = json.loads(net.run(home.ROUTER, "ip", "-j", "link"))
    return {link["ifname"]: link["ifindex"] for link in links}


def _filters():
    lines = set()
    for device in _devices():
        for hook in ("ingress", "egress", "root"):
            text = net.run(home.ROUTER, "tc", "filter", "show", "dev", device, hook, check=False)
            lines |= {f"{device} {hook} {line.strip()}" for line in text.splitlines()}
    return lines


def _tcx():
    lines = set()
    with net.inside(home.ROUTER):
        for device, index in _devices().items():
            for hook in (bpf.TCX_INGRESS, bpf.TCX_EGRESS):
                for program, _link in bpf.programs(index, hook):
                    lines.add(f"{device} hook {hook} program {program}")
    return lines


def _sysctls():
    text = net.run(home.ROUTER, "sysctl", "-a", "--pattern", "^net\\.", check=False)
    return {line for line in text.splitlines() if not _RESTLESS.search(line)}


def _sockets():
    """Listeners; not dnsmasq's, which opens and closes ports as it asks others."""
    text = net.run(home.ROUTER, "ss", "-Hlntuw0p", check=False)
    return {" ".join(line.split()[i] for i in (0, 4)) for line in text.splitlines()
            if '"dnsmasq"' not in line}


def _pids():
    return net.run_here("ip", "netns", "pids", home.ROUTER).split()


def _processes():
    names = set()
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                names.add(file.read().replace("\0", " ").strip())
        except OSError:
            pass  # it has ended
    return {name for name in names if name}


def _bpf_files():
    found = set()
    for pid in _pids():
        folder = f"/proc/{pid}/fd"
        try:
            for fd in os.listdir(folder):
                target = os.readlink(f"{folder}/{fd}")
                if "bpf" in target:
                    found.add(f"{pid} {target}")
        except OSError:
            pass  # it has ended
    return found


def _files(run_dir):
    found = set()
    for folder, _folders, files in os.walk(run_dir):
        found |= {os.path.join(folder, file) for file in files}
    return found | ({run_dir} if os.path.exists(run_dir) else set())
