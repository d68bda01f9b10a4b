"""Notices: what the console has to tell people, in its pages and by mail."""
