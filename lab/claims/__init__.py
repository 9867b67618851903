"""The claims, in the order in which they are tried: the last ones kill, restart and stop."""

# Importing a module registers its claims.
from lab.claims import flows, datagrams, names, router, commands, groups, changes, death, traces

__all__ = ["flows", "datagrams", "names", "router", "commands", "groups", "changes", "death",
           "traces"]
