"""A home network in three namespaces, and what dae claims to do in it."""
