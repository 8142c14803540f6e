"""Number of threads of a web process."""

THREADS_PER_CONNECTION = 64
"""Threads per database connection: most only wait, for bodies, a connection or a group commit.

The server starts them on demand; with so many a burst of requests waits instead of being refused.
"""
