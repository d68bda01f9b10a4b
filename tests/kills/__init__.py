"""Killing the worker: whatever it was at, the next one ends where nothing had happened.

`make kill-test` runs it; `TEST_DATABASE=postgres` on PostgreSQL.
"""
