"""Ways to break the lab on purpose: a claim that cannot fail proves nothing.

Each way takes the lab before its first start. `lab/redcheck` runs the tour under each of
them and names the claims that never failed.
"""

import re

from lab import home, net


def none(_lab):
    """Nothing broken."""


def no_dae(lab):
    """There is no daemon at all."""
    lab.daemon.binary = "/bin/false"
    lab.daemon.start = lambda: 0.0


def everything_proxied(lab):
    """No rules, and the proxy for all; DNS is nobody's business."""
    text = _without(_configuration(lab), "rule")
    text = text.replace("default_outbound 'direct'", "default_outbound 'proxy'")
    lab.daemon.configure(text.replace("config dns 'dns'\n\toption enabled '1'",
                                      "config dns 'dns'\n\toption enabled '0'"))


def everything_direct(lab):
    """No rules, no DNS rules, no local domain."""
    text = _without(_without(_configuration(lab), "rule"), "dns_rule")
    lab.daemon.configure(text.replace("list local_domain 'lan'", "list local_domain 'elsewhere'"))


def closed_when_dead(lab):
    """After kill -9 the router takes nothing from the LAN until the next start."""
    kill, start = lab.daemon.kill, lab.daemon.start
    table = "table inet closed"

    def kill_and_close():
        kill()
        net.run(home.ROUTER, "nft", "-f", "-", stdin=f"""{table} {{
            chain drop_all {{ type filter hook prerouting priority raw; iifname "{home.LAN}" drop; }}
        }}""")

    def open_and_start():
        net.run(home.ROUTER, "nft", "-f", "-", stdin=f"{table}\ndelete {table}")
        return start()

    lab.daemon.kill, lab.daemon.start = kill_and_close, open_and_start


def untidy(lab):
    """A stop forgets a policy rule, and the router's firewall drops what was proxied."""
    stop = lab.daemon.stop

    def stop_and_litter():
        seconds = stop()
        net.run(home.ROUTER, "ip", "rule", "add", "fwmark", "0x40000000", "lookup", "2023")
        for family in home.FAMILIES:
            net.run(home.ROUTER, "ip", f"-{family}", "route", "replace", "blackhole",
                    home.srv(family, home.BY_PREFIX))
        return seconds

    lab.daemon.stop = stop_and_litter


def bad_peers(lab):
    """Wrong bytes, UDP out of order, no DNS over TCP, no ssh, a router that cannot call."""
    lab.web.digest = "0" * 64
    lab.echo.swap = True
    for resolver in lab.resolvers.values():
        resolver.mute_tcp = True
    for banner in lab.banners.values():
        banner.close()
    for family in home.FAMILIES:
        net.run(home.ROUTER, "ip", f"-{family}", "route", "add", "unreachable",
                home.srv(family, home.BY_PREFIX))


def _configuration(lab):
    with open(lab.daemon.config, encoding="utf-8") as config:
        return config.read()


def _without(text, kind):
    return re.sub(rf"config {kind}\n(\t.*\n)*", "", text)


WAYS = {way.__name__: way for way in (none, no_dae, everything_proxied, everything_direct,
                                      closed_when_dead, untidy, bad_peers)}
