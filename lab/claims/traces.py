"""What is left after the end: nothing."""

from lab import home, snapshot
from lab.claims.flows import fetch, router_wan
from lab.claims.names import answered_by, router
from lab.tour import claim


def nothing_left(lab, row):
    """Compares the router with what it was before the first start."""
    left = snapshot.differences(lab.before, snapshot.take(lab.daemon.run_dir))
    row.saw += "; nothing left" if not left else f"; left: {', '.join(left[:5])}"
    row.want(not left, f"nothing, not {len(left)} lines")


@claim("stop leaves nothing")
def stopped(lab, row):
    row.did = "SIGTERM"
    seconds = lab.daemon.stop()
    row.saw = f"ended with {lab.daemon.exit_code} after {seconds * 1000:.0f} ms"
    row.want(lab.daemon.exit_code == 0, "exit code 0")
    nothing_left(lab, row)


@claim("stopped: the network as if we were not there", home.FAMILIES)
def without_us(lab, row, family):
    row.did = "GET where a rule proxied, and DNS"
    fetch(lab, row, home.srv(family, home.BY_PREFIX), router_wan(family))
    row.saw += "; "
    answered_by(lab, row, router(family), "isp")


@claim("kill -9, start and stop leave nothing")
def killed_and_stopped(lab, row):
    row.did = "dae run, kill -9, dae run, SIGTERM"
    lab.daemon.start()
    lab.daemon.kill()
    between = snapshot.differences(lab.before, snapshot.take(lab.daemon.run_dir))
    lab.daemon.start()
    lab.daemon.stop()
    row.saw = f"{len(between)} lines after the kill"
    nothing_left(lab, row)
