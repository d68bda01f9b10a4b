"""The console: what holds the features together."""
