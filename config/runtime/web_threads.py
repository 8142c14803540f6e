"""How many threads a web process has."""

THREADS_PER_CONNECTION = 64
"""Most of them only wait: for bodies, for a connection, for the group that a request is written in.

The server makes them as they are needed. So many that a crowd waits for its turn, and is not sent away.
"""
