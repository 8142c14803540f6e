"""A task for the tests of the broker: it notes that it ran, in a file."""

import os
import time
from pathlib import Path

from config.celery import app


@app.task
def note(path: str, word: str, seconds: float = 0) -> str:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()} {time.time()} started {word}\n")
    time.sleep(seconds)
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()} {time.time()} done {word}\n")
    return "done"
