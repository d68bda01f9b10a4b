"""The demo: a sandbox tenant, a worker and the console, with a fleet to look at.

`processes` starts and stops them, `story` writes the rows, `check` does the whole
job over HTTP and says what passed.
"""
