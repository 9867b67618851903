"""Ways to break the soak on purpose: a claim that cannot fail proves nothing.

Each way takes the soak before dae's first start. `lab/redcheck --soak` runs it under each of them
and names the claims that never failed.
"""

import subprocess
import threading

from lab import home, net


def none(_soak, _undo):
    """Nothing broken."""


def hoarding(soak, _undo):
    """Sessions are never enough and never end: memory and descriptors grow with them."""
    for option, value in (("max_udp_sessions", 65536), ("udp_idle_quic", 3600)):
        soak.config = _with(soak.config, option, value)
    soak.config = _with(soak.config, "udp_idle", 3600)


def dead_nodes(soak, _undo):
    """No node works, none is revived."""
    for node in soak.nodes:
        node.kill()
        node.start = lambda: None


def meddling(_soak, _undo):
    """Somebody on the way writes into datagrams and sends some twice."""
    net.run(home.ROUTER, "nft", "-f", "-", stdin=f"""
        table netdev meddling {{
            chain out {{
                type filter hook egress device "{home.LAN}" priority 0;
                udp sport 9 dup to "port1"
            }}
        }}""")
    # The eight bytes of UDP, then where a datagram says which flow it is of.
    net.run(home.CLIENT, "nft", "-f", "-", stdin="""
        table ip meddling {
            chain in {
                type filter hook prerouting priority raw;
                udp sport 443 udp checksum set 0 @th,192,32 set 1
            }
        }""")


def broken_file(soak, _undo):
    """Every other configuration has an error."""
    soak.more = "config rule\n\toption frob '1'\n"


def busy_client(soak, undo):
    """A client that goes on when all others are gone."""
    def talk():
        with net.inside(home.CLIENT):
            return subprocess.Popen([soak.chosen.peers, "churn", home.srv(4, home.BY_PREFIX),
                                     "3600", "100"], stdout=subprocess.DEVNULL)

    def later():
        if soak.over.wait(3600):
            process = talk()
            undo.add("busy client", lambda: net.stop(process))

    threading.Thread(target=later, daemon=True).start()


def mortal(soak, _undo):
    """dae is killed soon after its start."""
    start = soak.dae.start

    def start_and_die():
        seconds = start()
        timer = threading.Timer(3, soak.dae.kill)
        timer.daemon = True
        timer.start()
        return seconds

    soak.dae.start = start_and_die


def _with(config, option, value):
    """In the first section, and nowhere else."""
    lines = config.splitlines(keepends=True)
    kept = [line for line in lines if f"option {option} " not in line]
    return "".join([kept[0], f"\toption {option} '{value}'\n", *kept[1:]])


WAYS = {way.__name__: way for way in (none, hoarding, dead_nodes, meddling, broken_file,
                                      busy_client, mortal)}
