"""The real programs of the lab: dnsmasq, unbound, two SOCKS5 servers (dante), QUIC (aioquic)
and iperf3. Starts them."""

import contextlib
import crypt
import os
import signal
import sys

from lab import home, net

LOGIN_USER, LOGIN_PASSWORD = "lab", "secret"

_ZONE = {
    "plain.example": home.PLAIN,
    "proxied.example": home.BY_NAME,
    "direct.example": home.DIRECT_BY_NAME,
    "cached.example": home.PLAIN,
    "lossy.example": home.PLAIN,
    "ads.example": home.PLAIN,
    "asis.example": home.PLAIN,
    "marked.example": home.MARKED,
}
BIG_TEXTS = 20  # records of big.example TXT: some 4 kB, too much for a datagram


def start_all(undo, folder):
    """Starts every peer and waits until each of them listens."""
    start_unbound(undo, folder)
    start_dnsmasq(undo, folder)
    start_dante(undo, folder, home.SOCKS_PORT, "none")
    start_dante(undo, folder, home.SOCKS_LOGIN_PORT, "username", _with_own_users(folder))
    start_quic(undo, folder)
    start_iperf3(undo, folder)


def write(folder, name, text):
    """A file of the lab; its path."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def start_unbound(undo, folder):
    """Knows the zone example., and asks nobody else."""
    data = []
    for name, number in _ZONE.items():
        data.append(f"{name}. 300 A {home.srv(4, number)}")
        data.append(f"{name}. 300 AAAA {home.srv(6, number)}")
    for at in range(BIG_TEXTS):
        text = f"{at:03d}" + "x" * 200
        data.append(f"big.example. 300 TXT {text}")
    lines = "\n".join(f"  local-data: '{line}'" for line in data)
    config = write(folder, "unbound.conf", f"""server:
  interface: 127.0.0.1@{home.UNBOUND_PORT}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  num-threads: 1
  local-zone: "example." static
  local-data: "example. 300 SOA ns.example. admin.example. 1 3600 600 86400 60"
{lines}
remote-control:
  control-enable: no
""")
    net.start(undo, home.INTERNET, ["unbound", "-d", "-c", config],
              os.path.join(folder, "unbound.log"),
              lambda: net.bound(home.INTERNET, home.UNBOUND_PORT))


def start_dnsmasq(undo, folder):
    """On the router, port 53 of every address; knows nas.lan, asks the provider's resolver."""
    # user=root: it must read files in our folder after dropping its rights.
    config = write(folder, "dnsmasq.conf", f"""no-resolv
no-hosts
user=root
server={home.wan(4, home.ISP_RESOLVER)}
domain=lan
local=/lan/
host-record=nas.lan,{home.lan(4, home.NAS)},{home.lan(6, home.NAS)}
""")
    net.start(undo, home.ROUTER, ["dnsmasq", "--keep-in-foreground", f"--conf-file={config}",
                                  "--pid-file"],
              os.path.join(folder, "dnsmasq.log"), lambda: net.bound(home.ROUTER, 53, "u"))


def start_dante(undo, folder, port, method, wrapper=(), seen_as=home.SOCKS_OUT):
    """A SOCKS5 server with UDP ASSOCIATE; servers see it as `seen_as` in both families.

    `udp.connectdst: no` is what makes its UDP relay endpoint-independent (full cone).
    """
    config = write(folder, f"danted-{port}.conf", f"""logoutput: stderr
internal: {home.srv(4, home.SOCKS)} port = {port}
internal: {home.srv(6, home.SOCKS)} port = {port}
external: {home.srv(4, seen_as)}
external: {home.srv(6, seen_as)}
external.rotation: none
udp.connectdst: no
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0
  command: bind connect udpassociate bindreply udpreply }}
""")
    pid = os.path.join(folder, f"danted-{port}.pid")
    return net.start(undo, home.INTERNET, ["danted", "-p", pid, "-f", config],
                     os.path.join(folder, f"danted-{port}.log"),
                     lambda: net.bound(home.INTERNET, port), wrapper)


class Node:
    """A dante that can be killed, and be cut off without a word."""

    def __init__(self, undo, folder, name, port, number):
        self.name, self.port, self.number = name, port, number
        self._undo, self._folder = undo, folder
        self._process = None
        self._table = f"table inet mute_{name}"
        self._muted = False
        self.start()

    def start(self):
        """Unless it runs."""
        if self._process is None or self._process.poll() is not None:
            self._process = start_dante(self._undo, self._folder, self.port, "none",
                                        seen_as=self.number)

    def kill(self):
        """Its sockets are closed by the kernel, its port refuses."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def mute(self):
        """Whatever is sent to it, or by it, is lost."""
        ours = f"{{ {home.srv(4, self.number)} }}", f"{{ {home.srv(6, self.number)} }}"
        net.run(home.INTERNET, "nft", "-f", "-", stdin=f"""{self._table} {{
            chain heard {{ type filter hook input priority filter; tcp dport {self.port} drop
                          ip daddr {ours[0]} drop; ip6 daddr {ours[1]} drop; }}
            chain said {{ type filter hook output priority filter; tcp sport {self.port} drop; }}
        }}""")
        self._muted = True

    def unmute(self):
        """If it was muted."""
        if self._muted:
            net.run(home.INTERNET, "nft", "-f", "-",
                    stdin=f"{self._table}\ndelete {self._table}")
            self._muted = False


def quic(*words):
    """The command line of lab/quic.py, with the library that scripts/packages has fetched."""
    here = os.path.dirname(os.path.abspath(__file__))
    where = net.run_here("bash", "-c", f". {here}/../scripts/lib.sh; echo $aioquic_home").strip()
    return ["env", f"PYTHONPATH={where}", sys.executable, f"{here}/quic.py", *words]


def start_quic(undo, folder):
    """Echoes; on one address of the proxied prefix and each family."""
    net.run_here("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "30", "-subj", "/CN=quic.example",
                 "-keyout", f"{folder}/quic.key", "-out", f"{folder}/quic.pem")
    for family in home.FAMILIES:
        address = home.srv(family, home.BY_PREFIX)
        net.start(undo, home.INTERNET,
                  quic("server", address, str(home.QUIC_ECHO_PORT), f"{folder}/quic.pem",
                       f"{folder}/quic.key"),
                  os.path.join(folder, f"quic{family}.log"),
                  lambda address=address: _listens(address, home.QUIC_ECHO_PORT))


def start_iperf3(undo, folder):
    """On one address of the proxied prefix."""
    net.start(undo, home.INTERNET,
              ["iperf3", "-s", "-B", home.srv(4, home.BY_PREFIX), "-p", str(home.IPERF_PORT)],
              os.path.join(folder, "iperf3.log"), lambda: net.bound(home.INTERNET, home.IPERF_PORT))


def _listens(address, port):
    sockets = net.run(home.INTERNET, "ss", "-Hlnu").replace("[", "").replace("]", "")
    return f" {address}:{port} " in sockets


def _with_own_users(folder):
    """dante asks the system's user database: give it a view with one more user."""
    with open("/etc/passwd", encoding="utf-8") as real:
        users = write(folder, "passwd", real.read() + f"{LOGIN_USER}:x:54321:54321::/:/bin/false\n")
    hashed = crypt.crypt(LOGIN_PASSWORD, crypt.METHOD_SHA512)
    shadow = write(folder, "shadow", f"{LOGIN_USER}:{hashed}:1::::::\n")
    os.chmod(shadow, 0o600)
    script = (f"mount --bind {users} /etc/passwd && mount --bind {shadow} /etc/shadow "
              '&& exec "$@"')
    return ("unshare", "--mount", "sh", "-c", script, "sh")
