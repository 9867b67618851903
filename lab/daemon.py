"""Our daemon in the router's namespace: started, stopped, killed, asked. Starts processes."""

import json
import os
import signal
import subprocess
import time

from lab import home, net

TEMPLATE = os.path.join(os.path.dirname(__file__), "dae.uci")
# In a namespace entered by `ip netns exec`, /sys is a fresh mount of our own.
HIDE_BTF = 'mount -t tmpfs none /sys/kernel/btf && exec "$@"'


class Daemon:
    """One configuration file, one run folder, at most one process."""

    def __init__(self, binary, folder, attach="auto", hide_btf=False):
        self.binary = binary
        self.folder = folder
        self.config = os.path.join(folder, "dae.conf")
        self.run_dir = os.path.join(folder, "run")
        self.state_dir = os.path.join(folder, "state")
        self.log = os.path.join(folder, "dae.log")
        self.attach = attach
        self._hide_btf = hide_btf
        self._process = None
        with open(self.log, "ab"):
            pass
        with open(TEMPLATE, encoding="utf-8") as template:
            self.configure(template.read().replace("@ATTACH@", attach))

    def configure(self, text):
        """Writes the configuration; counts from the next start."""
        with open(self.config, "w", encoding="utf-8") as config:
            config.write(text)

    def start(self):
        """Starts it and waits until it answers; seconds that took. One at most: a claim that
        was to kill it may have failed before it did."""
        if self._process and self._process.poll() is None:
            net.stop(self._process, signal.SIGKILL)
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._in_router([self.binary, "run", "-c", self.config, "-r", self.run_dir,
                                 "--state-dir", self.state_dir]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        if not net.wait_for(self._answers, 10, self._process):
            raise net.LabError(f"dae did not come up; its last lines:\n{self.log_tail()}")
        seconds = time.monotonic() - began
        if self._hide_btf and os.path.exists(f"/proc/{self.pid}/root/sys/kernel/btf/vmlinux"):
            raise net.LabError("dae can see the kernel's BTF")
        return seconds

    def _in_router(self, argv):
        hiding = ["sh", "-c", HIDE_BTF, "sh"] if self._hide_btf else []
        return ["ip", "netns", "exec", home.ROUTER, *hiding, *argv]

    def _answers(self):
        return self.command("status").returncode == 0

    def command(self, *words, config=None, timeout=20):
        """Runs `dae WORDS` in the router; the finished process with its output as text."""
        argv = [self.binary, *words, "-c", config or self.config, "-r", self.run_dir]
        return subprocess.run(self._in_router(argv), text=True, capture_output=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    def status(self):
        """The status document."""
        done = self.command("status", "--json")
        if done.returncode != 0:
            raise net.NoAnswer(f"dae status: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def counter(self, rule):
        """Packets that the named rule has decided; 0 if there is no such rule."""
        rules = self.status()["rules"]
        return next((row["packets"] for row in rules if row["rule"] == rule), 0)

    def stop(self):
        """SIGTERM; seconds until it had ended."""
        if not self._process:
            return 0.0
        return net.stop(self._process, seconds=10)

    def kill(self):
        """kill -9, and nothing after it."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    @property
    def pid(self):
        """Of the running process."""
        return self._process.pid

    @property
    def exit_code(self):
        """None while it runs."""
        return self._process.poll() if self._process else None

    def log_tail(self, lines=12):
        """The last lines of its log."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:])
