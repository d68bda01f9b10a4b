"""A pretend Microsoft Entra tenant: login pages, token endpoint, Graph, controls.

It runs in a process of its own (``manage.py entra_sandbox``), on loopback only, and
is deliberately insecure: its passwords are published. It shares no code with the
client it tests and imports no Django model.
"""
