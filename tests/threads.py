"""Work that runs at the same time, each in a thread with a connection of its own."""

import threading

from django.db import connections


def at_once(*works):
    """Run functions in threads of their own, and raise what any of them raised."""
    failures = []

    def run(work):
        try:
            work()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]
