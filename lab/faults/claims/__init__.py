"""The claims about faults. Those that need the machine for themselves come last."""

# Importing a module registers its claims.
from lab.faults.claims import (datagrams, streams, outage, choice, trust, secure,
                                people, overload)

__all__ = ["datagrams", "streams", "outage", "choice", "trust", "secure", "people",
           "overload"]
