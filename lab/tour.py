"""The tour: every claim tried in order, a line each. Prints."""

import collections
import concurrent.futures
import contextlib
import itertools
import os
import subprocess
import sys
import time

from lab import net
from lab.net import LabError, NoAnswer

Claim = collections.namedtuple("Claim", "text check family together chapter")

CLAIMS = []
AT_ONCE = 24  # claims that are tried together
SECOND_TRIES = 3


class Wrong(Exception):
    """A claim is not true; the text says what should have been seen."""


class Row:
    """What a claim did and saw; filled in as it goes, so that a failure shows how far it came."""

    def __init__(self):
        self.did = ""
        self.saw = ""
        self._after = contextlib.ExitStack()

    def after(self, function, *args):
        """To be called whatever becomes of the claim, and after the scene of a failure was seen."""
        self._after.callback(function, *args)

    def end(self):
        """Calls what was to be called."""
        self._after.close()

    def want(self, holds, expected):
        """Fails the claim unless `holds`."""
        if not holds:
            raise Wrong(f"expected {expected}")


def claim(text, families=(), together=False):
    """Registers a check, once per address family if it has families. Those of a
    module that can be tried `together`, at the same time, come first.

    The check is called with the lab, a Row and, if so, the family; it raises if the claim is
    not true.
    """
    def register(check):
        for family in families or (None,):
            full = f"{text}, IPv{family}" if family else text
            CLAIMS.append(Claim(full, check, family, together, check.__module__))
        return check

    return register


def select(only=""):
    """The claims whose text contains `only`."""
    chosen = [each for each in CLAIMS if only in each.text]
    if not chosen:
        raise LabError(f"no claim contains '{only}'")
    return chosen


def run(lab, chosen, enter=lambda chapter: None):
    """Tries these claims; those that did not hold.

    The claims of one module are a chapter; `enter` is told its name before they are tried.
    """
    width = max(len(each.text) for each in chosen)
    failed = []
    for each, (row, verdict, problem, seconds) in _verdicts(lab, chosen, enter):
        words = " -> ".join(filter(None, (row.did, row.saw, problem)))
        print(f"{verdict:5}  {each.text:{width}}  {words}  [{seconds:.1f} s]", flush=True)
        if problem:
            failed.append(each)
            print(_scene(lab), file=sys.stderr, flush=True)
        row.end()
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} claims hold", flush=True)
    if failed:
        print("not so: " + "; ".join(each.text for each in failed), file=sys.stderr)
    return failed


def _scene(lab):
    try:
        return lab.scene()
    except (LabError, OSError, subprocess.SubprocessError) as error:
        return f"       the scene could not be seen: {error}"


def tried(visit, namespaces, wanted, again):
    """An exit code. `visit(undo, claims)` builds a lab, tries claims in it, and returns those that
    did not hold. When they are few and it may be tried `again`, they are, in a lab built anew: a
    claim is also about time, and somebody else may have had the machine. What held only then is
    named last, to be looked into; what broke the lab or the daemon is never forgiven."""
    failed = []

    def body(undo):
        failed[:] = visit(undo, wanted)
        return not failed or again and len(failed) <= SECOND_TRIES

    code = net.guarded(namespaces, body)
    if code or not failed:
        return code
    names = "; ".join(each.text for each in failed)
    print(f"\nonce more, in a lab built anew: {names}\n", flush=True)
    code = net.guarded(namespaces, lambda undo: not visit(undo, list(failed)))
    if not code:
        print(f"HELD ONLY AT THE SECOND TRY: {names}", flush=True)
        if told := os.environ.get("DAE_SECOND_TRIES"):
            with open(told, "a", encoding="utf-8") as file:
                file.write(f"held only at the second try: {names}\n")
    return code


def _verdicts(lab, chosen, enter):
    """Pairs of a claim and what became of it, as they come to be known."""
    for chapter, claims in itertools.groupby(chosen, lambda each: each.chapter):
        enter(chapter)
        claims = list(claims)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            together = [(each, pool.submit(_timed, each, lab)) for each in claims if each.together]
            yield from ((each, future.result()) for each, future in together)
        yield from ((each, _timed(each, lab)) for each in claims if not each.together)


def _timed(each, lab):
    row, began = Row(), time.monotonic()
    verdict, problem = _try(each, lab, row)
    return row, verdict, problem, time.monotonic() - began


def _try(each, lab, row):
    """(PASS, None), (FAIL, why), or (ERROR, why) if the lab could not find out."""
    arguments = (lab, row, each.family) if each.family else (lab, row)
    try:
        each.check(*arguments)
    except (Wrong, NoAnswer) as error:
        return "FAIL", str(error)
    except subprocess.TimeoutExpired as error:
        return "FAIL", f"no end of {error.cmd} within {error.timeout} s"
    except OSError as error:  # a connection refused, reset, or timed out
        return "FAIL", f"{type(error).__name__}: {error}"
    except LabError as error:
        return "ERROR", str(error)
    except (ValueError, LookupError, StopIteration) as error:
        return "ERROR", f"{type(error).__name__}: {error}"
    return "PASS", None
