"""Network namespaces, links and processes: made in order, undone in reverse. Talks to the kernel.

Nothing here touches the namespace we were started in: links are created between our own
namespaces, and a socket or a process of the lab lives in one of them.
"""

import contextlib
import ctypes
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CLONE_NEWNET = 0x40000000
NETNS_DIR = "/run/netns"
TEMP_PREFIX = "/tmp/dae-lab-"
LOCK = "\0dae-lab"

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab itself cannot go on; no verdict about dae."""


class NoAnswer(Exception):
    """Nobody answered; a claim that expects an answer is not true."""


class Undo:
    """What has to be undone, in reverse, each step tried whatever the others did."""

    def __init__(self):
        self._steps = []

    def add(self, what, step):
        """Remembers `step()` under the name `what`."""
        self._steps.append((what, step))

    def run(self):
        """Undoes everything; returns the problems as text."""
        problems = []
        while self._steps:
            what, step = self._steps.pop()
            try:
                step()
            except Exception as error:  # one failed step must not keep the others from running
                problems.append(f"{what}: {error}")
        return problems


@contextlib.contextmanager
def inside(namespace):
    """Puts this thread into a namespace; sockets and children made there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"{NETNS_DIR}/{namespace}", os.O_RDONLY)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def run(namespace, *argv, check=True, stdin=None, timeout=60):
    """Runs a command in a namespace to its end; returns its standard output."""
    try:
        with inside(namespace):
            done = subprocess.run(argv, input=stdin, text=True, timeout=timeout,
                                  capture_output=True)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    if check and done.returncode != 0:
        raise LabError(f"{namespace}: {' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def open_socket(namespace, family, kind):
    """A socket that lives in the namespace."""
    with inside(namespace):
        opened = socket.socket(family, kind)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def listener(namespace, kind, address, port):
    """A bound socket, listening if it is a stream."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = open_socket(namespace, family, kind)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind((address, port))
    if kind == socket.SOCK_STREAM:
        opened.listen(128)
    return opened


def add_namespace(undo, name):
    """A new namespace with its loopback up."""
    run_here("ip", "netns", "add", name)
    undo.add(f"namespace {name}", lambda: _remove_namespace(name))
    run(name, "ip", "link", "set", "lo", "up")
    # Addresses are good at once: nobody else is here to hold one.
    run(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")


def _remove_namespace(name):
    def pids():
        return run_here("ip", "netns", "pids", name).split()

    wait_for(lambda: not pids(), 3)  # what was killed a moment ago takes its time to be gone
    inhabitants = pids()
    run_here("ip", "netns", "del", name)
    if inhabitants:  # somebody's shell: it is not ours to end
        raise LabError(f"the processes {' '.join(inhabitants)} still live in it")


def run_here(*argv):
    """Runs a command in the namespace we were started in; returns its standard output."""
    done = subprocess.run(argv, text=True, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def veth(left, left_device, right, right_device):
    """A cable between two namespaces; it goes when either of them goes."""
    run(left, "ip", "link", "add", left_device, "type", "veth",
        "peer", "name", right_device, "netns", right)
    run(left, "ip", "link", "set", left_device, "up")
    run(right, "ip", "link", "set", right_device, "up")


def start(undo, namespace, argv, log, ready=None, wrapper=()):
    """Starts a server in a namespace, its output into the file `log`.

    `ready()` is asked until it is true; a server that ends or takes 10 s before that is an error.
    """
    with open(log, "ab") as output, inside(namespace):
        process = subprocess.Popen([*wrapper, *argv], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, start_new_session=True)
    undo.add(argv[0], lambda: stop(process))
    if not wait_for(ready or (lambda: True), 10, process):
        with open(log, encoding="utf-8", errors="replace") as output:
            tail = "".join(output.readlines()[-5:])
        raise LabError(f"{argv[0]} in {namespace} did not become ready:\n{tail}")
    return process


def wait_for(condition, seconds, process=None):
    """Asks `condition()` until it is true; False when the time is over or the process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            return False
        if condition():
            return True
        time.sleep(0.02)
    return False


def stop(process, how=signal.SIGTERM, seconds=5):
    """Ends a process and all of its own children; seconds it took."""
    began = time.monotonic()
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"lab: {process.args[0]} ignored signal {how}, killed", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return time.monotonic() - began


def bound(namespace, port, kind="t"):
    """Whether somebody in the namespace listens on this port; kind is t or u."""
    return f":{port} " in run(namespace, "ss", f"-Hln{kind}")


def temp_folder(undo):
    """The one folder that every file of this run lives in."""
    folder = tempfile.mkdtemp(prefix=os.path.basename(TEMP_PREFIX), dir=os.path.dirname(TEMP_PREFIX))
    os.chmod(folder, 0o755)
    undo.add(folder, lambda: shutil.rmtree(folder))
    return folder


def lock(seconds):
    """Makes sure that one lab runs at a time; the name goes away with this process."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def take():
        with contextlib.suppress(OSError):
            held.bind(LOCK)
            return True
        return False

    if not take():
        print(f"lab: another lab is running, waiting up to {seconds} s for it", file=sys.stderr)
        if not wait_for(take, seconds):
            raise LabError("another lab is still running")
    return held


def clean(namespaces):
    """Removes what a killed run left; to be called with the lock held."""
    for name in namespaces:
        if not os.path.exists(f"{NETNS_DIR}/{name}"):
            continue
        print(f"lab: removing the namespace {name} of a dead run", file=sys.stderr)
        for pid in run_here("ip", "netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run_here("ip", "netns", "del", name)
    for folder in glob.glob(f"{TEMP_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def guarded(namespaces, body):
    """Runs `body(undo)` with the lock held and undoes everything after it; an exit code.

    0 if `body` returned true. Ctrl-C, SIGTERM and SIGHUP end it early, and it still cleans up.
    """
    if os.geteuid() != 0:
        print("lab: namespaces need root", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    undo, good = Undo(), False
    try:
        undo.add("lock", lock(600).close)
        clean(namespaces)
        good = body(undo)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nlab: interrupted, cleaning up", flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        problems = undo.run()
    for problem in problems:
        print(f"lab: {problem}", file=sys.stderr)
    return 0 if good and not problems else 1


def _interrupt(_number, _frame):
    raise KeyboardInterrupt
