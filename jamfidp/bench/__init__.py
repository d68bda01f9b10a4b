"""The bench: how fast a sync is, against floors that are measured in the same run.

`goals` says what is aimed at, `floors` is the best plain code, `consoles` makes databases
and processes, `inside` is what is measured in them, `run` asks for it all.
"""
