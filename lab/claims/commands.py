"""The commands a user types."""

from lab import home, peers
from lab.tour import claim

_WRONG = """config dae 'main'
	list interface 'lan0'
	option attatch 'tcx'

config rule
	option name 'nowhere'
	list dest_ip '203.0.113.300'
	option outbound 'nobody'
"""


@claim("dae trace names the rule", home.FAMILIES)
def trace(lab, row, family):
    source, host = home.lan(family, home.LAPTOP), home.srv(family, home.BY_PREFIX)
    destination = f"[{host}]:80" if family == 6 else f"{host}:80"
    row.did = f"dae trace {source} {destination}"
    done = lab.daemon.command("trace", source, destination)
    row.saw = " ".join(done.stdout.split())[:100]
    row.want("by-prefix" in done.stdout and "proxy" in done.stdout, "rule by-prefix, node proxy")
    done = lab.daemon.command("trace", source, destination, "--domain", "direct.example")
    row.want("direct-by-name" in done.stdout, "rule direct-by-name for direct.example")


@claim("a wrong configuration is refused, every problem at once")
def wrong(lab, row):
    path = peers.write(lab.folder, "wrong.conf", _WRONG)
    row.did = "dae check and dae run with three mistakes"
    checked = lab.daemon.command("check", config=path)
    text = checked.stdout + checked.stderr
    row.saw = f"check ended with {checked.returncode}; {len(text.splitlines())} lines"
    for part in ("attatch", "203.0.113.300", "nobody", ":3", ":7", ":8"):
        row.want(part in text, f"'{part}' in: {text}")
    row.want(checked.returncode == 1, "exit code 1")
    refused = lab.daemon.command("run", config=path)
    row.saw += f", run ended with {refused.returncode}"
    row.want(refused.returncode == 1, "exit code 1")
    row.want(lab.daemon.exit_code is None, "the running daemon to go on")


@claim("a right configuration passes dae check")
def right(lab, row):
    row.did = "dae check"
    done = lab.daemon.command("check")
    row.saw = f"exit code {done.returncode} {done.stderr.strip()}"
    row.want(done.returncode == 0, "exit code 0")


@claim("dae status shows hook, rules and their packets")
def status(lab, row):
    row.did = "dae status --json, dae status"
    devices = lab.daemon.status()["devices"]
    counted = {rule: lab.daemon.counter(rule) for rule in ("by-prefix", "no-quic", "tv")}
    row.saw = ", ".join([f"{each['device']} {each['hook']}" for each in devices]
                        + [f"{rule} {packets} packets" for rule, packets in counted.items()])
    row.want([each["device"] for each in devices] == [home.LAN], home.LAN)
    row.want(lab.daemon.attach in ("auto", devices[0]["hook"]), lab.daemon.attach)
    row.want(all(counted.values()), "counters that moved")
    page = lab.daemon.command("status").stdout
    row.want(all(rule in page for rule in counted), "every rule on the page for people")


@claim("dae doctor finds nothing wrong, and leaves nothing")
def doctor(lab, row):
    row.did = "dae doctor"
    before = lab.programs()
    done = lab.daemon.command("doctor")
    lines = done.stdout.splitlines()
    wrong = [line for line in lines if not line.startswith("ok ")][:-1]
    row.saw = f"{len(lines)} lines, exit code {done.returncode} {'; '.join(wrong)} {done.stderr}"
    row.want(done.returncode == 0 and lines[-1] == "nothing wrong found", "nothing wrong")
    for name in ("isp", "far", "first", "second", home.LAN, "127.0.0.1:5354"):
        row.want(name in done.stdout, f"{name} in: {done.stdout}")
    row.want(lab.programs() == before, f"{before} still")
