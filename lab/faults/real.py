"""Real programs as upstreams: unbound, knot-resolver and dnsdist. Starts them.

Each knows one address for every name below `example.`, and asks nobody.
"""

import os

from lab import home, net, peers
from lab.faults import message, plan

UNBOUND, UNBOUND_TLS = 5301, 5302
KRESD, KRESD_TLS, KRESD_HTTPS = 5311, 5312, 5313
DNSDIST, DNSDIST_TLS, DNSDIST_HTTPS = 5321, 5322, 5323


def start_all(undo, folder, certificates):
    """Starts every program and waits until each of them listens."""
    pair = (os.path.join(certificates, "good.pem"), os.path.join(certificates, "good.key"))
    for start in (_unbound, _kresd, _dnsdist):
        start(undo, folder, *pair)


def _start(undo, folder, argv, *ports):
    net.start(undo, home.INTERNET, argv, os.path.join(folder, f"real-{argv[0]}.log"),
              lambda: all(net.bound(home.INTERNET, port) for port in ports))


def _unbound(undo, folder, certificate, key):
    config = peers.write(folder, "real-unbound.conf", f"""server:
  interface: {plan.address()}@{UNBOUND}
  interface: {plan.address()}@{UNBOUND_TLS}
  tls-port: {UNBOUND_TLS}
  tls-service-key: "{key}"
  tls-service-pem: "{certificate}"
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  num-threads: 1
  incoming-num-tcp: 100
  local-zone: "example." redirect
  local-data: "example. 300 A {message.PEER}"
remote-control:
  control-enable: no
""")
    _start(undo, folder, ["unbound", "-d", "-c", config], UNBOUND, UNBOUND_TLS)


def _kresd(undo, folder, certificate, key):
    run = os.path.join(folder, "kresd")
    os.mkdir(run)
    address = plan.address()
    config = peers.write(folder, "real-kresd.conf", f"""
net.listen('{address}', {KRESD}, {{ kind = 'dns' }})
net.listen('{address}', {KRESD_TLS}, {{ kind = 'tls' }})
net.listen('{address}', {KRESD_HTTPS}, {{ kind = 'doh2' }})
net.tls('{certificate}', '{key}')
for _, name in ipairs({{ 'priming', 'ta_update', 'ta_signal_query', 'detect_time_skew' }}) do
  modules.unload(name)
end
trust_anchors.remove('.')
cache.size = 10 * MB
policy.add(policy.suffix(policy.ANSWER(
  {{ [kres.type.A] = {{ rdata = kres.str2ip('{message.PEER}'), ttl = 300 }} }}, true),
  policy.todnames({{ 'example' }})))
""")
    _start(undo, folder, ["kresd", "-n", "-c", config, run], KRESD, KRESD_TLS, KRESD_HTTPS)


def _dnsdist(undo, folder, certificate, key):
    address = plan.address()
    config = peers.write(folder, "real-dnsdist.conf", f"""
setSecurityPollSuffix('')
setLocal('{address}:{DNSDIST}')
addTLSLocal('{address}:{DNSDIST_TLS}', '{certificate}', '{key}')
addDOHLocal('{address}:{DNSDIST_HTTPS}', '{certificate}', '{key}', '/dns-query')
setACL('0.0.0.0/0')
addAction(AllRule(), SpoofAction('{message.PEER}'))
""")
    _start(undo, folder, ["dnsdist", "--supervised", "--disable-syslog", "-C", config],
           DNSDIST, DNSDIST_TLS, DNSDIST_HTTPS)
