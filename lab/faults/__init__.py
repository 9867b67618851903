"""DNS under faults: an upstream that misbehaves on purpose, real peers, and what clients see."""
