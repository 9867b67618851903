# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Claims about packages: counted, and those that do not hold are kept."""

failures = []
total = 0


def check(good, words):
    """Counts a claim."""
    global total
    total += 1
    if not good:
        failures.append(words)


def same(what, got, wanted):
    """Counts a claim about a value."""
    check(got == wanted, f"{what}: {got!r} instead of {wanted!r}")
