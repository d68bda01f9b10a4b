"""Forms of scoping: they check what was typed; the named modules act on it."""
