"""The whole lab, as the claims see it: the network, its people, its servers, our daemon."""

import re

from lab import home, net, peers, servers, snapshot
from lab.client import Client
from lab.daemon import Daemon
from lab.resolver import Resolver


# Counters of /proc/net/snmp and netstat that tell of lost packets.
_TELLING = re.compile(r"Drop|Discard|Filter|NoRoutes|InAddrErrors|Overflow|Martian|Invalid")


class Lab:
    """Everything a claim may use."""

    SSH_PORT = 22

    def __init__(self, undo, options):
        self.folder = net.temp_folder(undo)
        home.build(undo)
        self.web = servers.Web(undo, self.folder)
        self.echo = servers.Echo(undo)
        servers.Parrot(undo)
        self.banners = {
            family: servers.Banner(undo, home.ROUTER, home.lan(family, home.ROUTER_LAN),
                                   self.SSH_PORT)
            for family in home.FAMILIES}
        self.resolvers = {
            label: Resolver(undo, label, [side(family, number) for family in home.FAMILIES])
            for label, side, number in (("main", home.wan, home.RESOLVER),
                                        ("isp", home.wan, home.ISP_RESOLVER),
                                        ("public", home.srv, home.PUBLIC_RESOLVER))}
        peers.start_all(undo, self.folder)
        self.nodes = [peers.Node(undo, self.folder, *each)
                      for each in (("first", home.FIRST_PORT, home.FIRST),
                                   ("second", home.SECOND_PORT, home.SECOND))]
        resolv_conf = peers.write(self.folder, "resolv.conf",
                                  f"nameserver {home.lan(4, home.ROUTER_LAN)}\n")
        self.client = Client(resolv_conf)
        self.daemon = Daemon(options.dae, self.folder, options.hook, options.no_btf)
        undo.add("dae", self.daemon.stop)
        self.before = snapshot.take(self.daemon.run_dir)

    def on_router(self, *argv):
        """Runs a command on the router; its output."""
        return net.run(home.ROUTER, *argv, check=False)

    def forwarded(self, family, host, port):
        """Whether the kernel forwards the client's own TCP flow to this host."""
        return bool(self.on_router("conntrack", "-L", "-f", f"ipv{family}", "-p", "tcp",
                                   "-s", home.lan(family, home.LAPTOP), "-d", host,
                                   "--sport", str(port),
                                   "--reply-dst", home.wan(family, home.ROUTER_WAN)))

    def marked_packets(self):
        """Packets the router has forwarded with the mark of rule "marked"."""
        text = self.on_router("nft", "list", "counter", "inet", "lab", "marked")
        return int(re.search(r"packets (\d+)", text)[1])

    def sockets(self, state):
        """TCP sockets of the router in a state, as ss prints them."""
        return self.on_router("ss", "-Hnt", "state", state)

    def programs(self):
        """BPF programs on the LAN device, TCX and clsact."""
        now = snapshot.take(self.daemon.run_dir)
        return sorted(now["tcx"] | {line for line in now["filter"] if " id " in line})

    def scene(self):
        """What may tell why a claim has just failed: flows, what differs from a router without
        us, what the kernel dropped, the log."""
        now = snapshot.take(self.daemon.run_dir)
        flows = self.on_router("conntrack", "-L", "-s", home.lan(4, home.LAPTOP)).splitlines()
        drops = self.on_router("nstat", "-s", "-a").splitlines()
        return "\n".join([
            "       what differs from before the start:",
            *snapshot.differences(self.before, now)[:40],
            "       the laptop's last flows by IPv4:", *flows[-12:],
            "       counters of the router:", *(line for line in drops if _TELLING.search(line)),
            "       the last lines of dae's log:", self.daemon.log_tail()])
