"""How far tests that could go on for ever go: `make test` takes their small form, `make proof` the whole."""

import os
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TypeVar

TIMES = int(os.environ.get("PROOF_TIMES", "1"))
"""How many times the usual number of examples, rows or kills."""
IS_WHOLE = TIMES > 1

_T = TypeVar("_T")


def scaled(short: int, whole: int) -> int:
    """Return how many it is now: `whole` is multiplied by PROOF_TIMES."""
    return whole * TIMES if IS_WHOLE else short


class Samples:
    """Takes turns among values where there is only time for some; the whole proof has them all each time."""

    def __init__(self, values: Sequence[_T], at_once: int = 1) -> None:
        self._values = values
        self._turns = cycle(values)
        self._at_once = len(values) if IS_WHOLE else at_once

    def __iter__(self) -> Iterator[_T]:
        return iter(self._values) if IS_WHOLE else (next(self._turns) for _ in range(self._at_once))
