"""Object history: who changed what, when and from where."""
