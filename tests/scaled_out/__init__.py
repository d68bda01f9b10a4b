"""Four workers, twenty connections, PostgreSQL and a broker, and workers that die.

`make scaled-out-test` runs it with Redis; BROKER=amqp://… names another one.
"""
