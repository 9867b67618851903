"""The home network of the lab: who is where, and how it is built. The map:

    dae-client                dae-router                       dae-internet
    laptop eth0  .77.10 --+                                    isp0 198.51.100.1, .53, .54
    tv     tv0   .77.20 --+-- lan0 192.168.77.1  wan0 --------      resolvers
                              (a bridge)     198.51.100.2      srv0 203.0.113.0/24 servers

IPv6 is the same with fd77::/64, 2001:db8:100::/64 and 2001:db8:113::/64, where the last
group is the last number of the IPv4 address, digit by digit: 203.0.113.20 is 2001:db8:113::20.
"""

from lab import net

CLIENT, ROUTER, INTERNET = NAMESPACES = ("dae-client", "dae-router", "dae-internet")

LAN, WAN = "lan0", "wan0"
TV_MAC = "02:00:00:77:00:20"
MARK = 0x10  # what the rule "marked" sets; the router counts it

_PREFIX = {
    ("lan", 4): "192.168.77.", ("lan", 6): "fd77::",
    ("wan", 4): "198.51.100.", ("wan", 6): "2001:db8:100::",
    ("srv", 4): "203.0.113.", ("srv", 6): "2001:db8:113::",
}
_LENGTH = {4: 24, 6: 64}
FAMILIES = (4, 6)


def lan(family, number):
    """An address on the LAN."""
    return f"{_PREFIX['lan', family]}{number}"


def wan(family, number):
    """An address on the provider's network."""
    return f"{_PREFIX['wan', family]}{number}"


def srv(family, number):
    """An address of a server in the internet."""
    return f"{_PREFIX['srv', family]}{number}"


# Who is who, by last number.
ROUTER_LAN, LAPTOP, TV, NAS = 1, 10, 20, 50
PROVIDER, ROUTER_WAN, RESOLVER, ISP_RESOLVER = 1, 2, 53, 54
PUBLIC_RESOLVER = 53           # on the server network: whom a client may ask on its own
SOCKS, SOCKS_OUT = 9, 200      # where the SOCKS5 server listens, and whom servers see
SOCKS_PORT, SOCKS_LOGIN_PORT = 1080, 1081
# The two nodes of the group: where they listen, and whom servers see.
FIRST, SECOND = 201, 202
FIRST_PORT, SECOND_PORT = 1090, 1091
UNBOUND_PORT = 5300
# Servers; which of them a rule proxies, blocks or marks is written in lab/dae.uci. The
# numbers are in 203.0.113.32/28 and in 2001:db8:113::30/124, or in neither.
PLAIN, BY_NAME, MARKED, BY_LOGIN, BY_GROUP = 10, 20, 70, 71, 80
BY_PREFIX, OTHER_BY_PREFIX, DIRECT_BY_NAME, NOT_IN_PREFIX = 33, 34, 38, 39
SERVERS = (PLAIN, BY_NAME, MARKED, BY_LOGIN, BY_GROUP,
           BY_PREFIX, OTHER_BY_PREFIX, DIRECT_BY_NAME, NOT_IN_PREFIX)
WEB_PORT, ECHO_PORT, QUIC_PORT = 80, 7, 443
QUIC_ECHO_PORT, IPERF_PORT = 4433, 5201  # UDP 443 is blocked by a rule

_FIREWALL = f"""
table inet lab {{
    counter marked {{ }}
    chain forwarded {{
        type filter hook forward priority filter; policy drop;
        meta mark {MARK:#x} counter name marked
        ct state established,related accept
        iifname "{LAN}" accept
    }}
    chain masquerading {{
        type nat hook postrouting priority srcnat;
        oifname "{WAN}" masquerade
    }}
}}
"""


def build(undo):
    """Makes the namespaces and the links between them."""
    for name in NAMESPACES:
        net.add_namespace(undo, name)
    _build_router()
    _build_client()
    _build_internet()


def _build_router():
    net.run(ROUTER, "ip", "link", "add", LAN, "type", "bridge", "forward_delay", "0")
    net.run(ROUTER, "ip", "link", "set", LAN, "address", "02:00:00:77:00:01", "up")
    for device, mac, port in (("eth0", "02:00:00:77:00:10", "port1"), ("tv0", TV_MAC, "port2")):
        net.veth(CLIENT, device, ROUTER, port)
        net.run(CLIENT, "ip", "link", "set", device, "address", mac)
        net.run(ROUTER, "ip", "link", "set", port, "master", LAN)
    net.veth(ROUTER, WAN, INTERNET, "isp0")
    for family in FAMILIES:
        _address(ROUTER, LAN, family, lan(family, ROUTER_LAN))
        _address(ROUTER, WAN, family, wan(family, ROUTER_WAN))
        net.run(ROUTER, "ip", f"-{family}", "route", "add", "default",
                "via", wan(family, PROVIDER))
    net.run(ROUTER, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    net.run(ROUTER, "nft", "-f", "-", stdin=_FIREWALL)


def _build_client():
    # Two machines in one namespace: each address answers and leaves by its own device only.
    net.run(CLIENT, "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1",
            "net.ipv4.conf.all.arp_announce=2", "net.ipv4.conf.all.rp_filter=0")
    for family in FAMILIES:
        _address(CLIENT, "eth0", family, lan(family, LAPTOP))
        _address(CLIENT, "tv0", family, lan(family, TV))
        gateway = lan(family, ROUTER_LAN)
        net.run(CLIENT, "ip", f"-{family}", "route", "add", "default",
                "via", gateway, "dev", "eth0")
        net.run(CLIENT, "ip", f"-{family}", "route", "add", "default",
                "via", gateway, "dev", "tv0", "table", "20")
        net.run(CLIENT, "ip", f"-{family}", "rule", "add", "from", lan(family, TV), "table", "20")


def _build_internet():
    net.run(INTERNET, "ip", "link", "add", "srv0", "type", "bridge")
    net.run(INTERNET, "ip", "link", "set", "srv0", "up")
    for family in FAMILIES:
        for number in (PROVIDER, RESOLVER, ISP_RESOLVER):
            _address(INTERNET, "isp0", family, wan(family, number))
        for number in (PUBLIC_RESOLVER, SOCKS, SOCKS_OUT, FIRST, SECOND, *SERVERS):
            _address(INTERNET, "srv0", family, srv(family, number))


def _address(namespace, device, family, address):
    net.run(namespace, "ip", "address", "add", f"{address}/{_LENGTH[family]}", "dev", device)
