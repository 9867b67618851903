# SPDX-License-Identifier: Apache-2.0 OR MIT
"""One run of a guest: its machine is started, and what it says on its console is read."""

import os
import re
import subprocess
import tempfile
import threading

from kernels import guests, parts

SECONDS = 600  # what a run may take on a busy host
CLAIMS = 61    # that every guest tries at least
# What a start until the hook may take. Mostly it is 390 to 830, and rarely more, as the host's own
# speed changes. What the verifier has to walk is held exactly by tests/bpf_abi.rs.
LOAD_MS = 2000


class Outcome:
    """What a guest said: claims, numbers, and whether it came to its end."""

    def __init__(self, guest):
        self.guest = guest
        self.passed, self.failed, self.errors = [], [], []
        self.values = {}
        self.marks = []
        self.ended = False

    def hear(self, line, work_ms):
        """Takes a line of the console; whether it was for us. work_ms: the processor's time
        that the host has spent on the guest until now. Unlike any clock it does not depend on
        what else the host does."""
        kind, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if kind == "PASS":
            self.passed.append(rest.partition(" ->")[0])
        elif kind == "FAIL":
            self.failed.append(rest.partition(" ->")[0])
        elif kind == "ERROR":
            self.errors.append(rest)
        elif kind == "VALUE":
            name, _, value = rest.partition(" ")
            self.values[name] = value
        elif kind == "MARK":
            self.marks.append((rest, work_ms))
        elif kind == "END":
            self.ended = True
        else:
            return False
        return True

    def work(self, begin, end):
        """Milliseconds of work between each two marks of these names."""
        times = [(name, at) for name, at in self.marks if name in (begin, end)]
        return [after - before for (first, before), (then, after) in zip(times, times[1:])
                if (first, then) == (begin, end)]

    def judge_load(self, bound):
        """What a start takes until the hook, less what `dae check` takes to read the same file."""
        read, starts = self.work("reading", "read"), self.work("starting", "attached")
        loads = [start - read[0] for start in starts] if read else []
        if loads:
            self.values["load_ms"] = str(loads[0])
            self.values["read_ms"] = str(read[0])
        if loads and "interpreted" in self.values:
            self.values["load_interpreted_ms"] = str(loads[-1])
        good = bool(loads) and loads[0] <= bound
        (self.passed if good else self.failed).append(f"BPF load and attach, at most {bound} ms")

    def problems(self):
        """Why the run is no success; empty if it is one."""
        found = [f"not so: {text}" for text in self.failed] + self.errors
        if not self.ended:
            found.append("the guest did not come to its end")
        tried = len(self.passed) + len(self.failed)
        if tried < CLAIMS:
            found.append(f"only {tried} claims were tried, of at least {CLAIMS}")
        return found


def run(guest, sabotage="", show=print):
    """Runs a guest to its end; the Outcome."""
    image, modules = parts.kernel(guest)
    outcome = Outcome(guest)
    with tempfile.NamedTemporaryFile(prefix="dae-kernels-") as archive:
        archive.write(parts.initramfs(guest, modules))
        archive.flush()
        words = f"console={guest.console} panic=-1 quiet hook={guest.hook}"
        words += f" rss_bound={guest.rss_bound}" + f" sabotage={sabotage}" * bool(sabotage)
        _listen([*guest.qemu, "-nographic", "-no-reboot", "-nodefaults",
                 "-serial", "stdio", "-monitor", "none",
                 "-kernel", image, "-initrd", archive.name, "-append", words], outcome, show)
    outcome.judge_load(0 if sabotage == "tight" else LOAD_MS)
    return outcome


def _work_ms(pid):
    """The processor's time of a process (man 5 proc: utime and stime of its stat)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def _listen(argv, outcome, show):
    """Runs a machine until it ends; kills it when its time is over."""
    last = []
    with subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace") as machine:
        watch = threading.Timer(SECONDS, machine.kill)
        watch.start()
        try:
            for line in machine.stdout:
                line = re.sub(r"\x1b\[[0-9;]*\w|[\r\n]", "", line)
                last = [*last[-19:], line]
                if outcome.hear(line, _work_ms(machine.pid)):
                    show(line)
        finally:
            watch.cancel()
            machine.kill()
    if not outcome.ended:
        show("\n".join(["the last lines of its console:", *last]))


def by_name(names):
    """The guests of these names; all if there are none."""
    known = {guest.name: guest for guest in guests.GUESTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"kernels/run: no guest {unknown[0]}; there are: {', '.join(known)}")
    return [known[name] for name in names] or list(guests.GUESTS)
