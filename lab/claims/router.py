"""The router's own services, which we must not touch."""

import socket

from lab import home
from lab.tour import claim


@claim("the router's own services untouched", home.FAMILIES)
def services(lab, row, family):
    server = lab.banners[family]
    host = home.lan(family, home.ROUTER_LAN)
    row.did = f"TCP to {host} port {lab.SSH_PORT}, from the laptop and the TV"
    for number in (home.LAPTOP, home.TV):
        source = home.lan(family, number)
        with lab.client.socket(socket.SOCK_STREAM, family, source) as connection:
            connection.connect((host, lab.SSH_PORT))
            greeting = connection.recv(100)
        row.saw = f"{greeting.decode().strip()}; it saw {server.callers[-1]}"
        row.want(greeting.startswith(b"SSH") and server.callers[-1] == source, source)


@claim("the router's own traffic untouched", home.FAMILIES)
def own_traffic(lab, row, family):
    host = home.srv(family, home.BY_PREFIX)
    row.did = f"GET http://{host}/ on the router itself"
    row.saw = lab.on_router("curl", "-s", "-g", "--max-time", "5",
                            f"http://[{host}]/" if family == 6 else f"http://{host}/").strip()
    row.want(home.wan(family, home.ROUTER_WAN) in row.saw, home.wan(family, home.ROUTER_WAN))
