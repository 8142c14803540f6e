"""Scale of exhaustive tests: small in `make test`, full in `make proof`."""

import os
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TypeVar

TIMES = int(os.environ.get("PROOF_TIMES", "1"))
"""Factor for the number of examples, rows or kills."""
IS_WHOLE = TIMES > 1

_T = TypeVar("_T")


def scaled(short: int, whole: int) -> int:
    """Return `short`, or under `make proof` `whole` times PROOF_TIMES."""
    return whole * TIMES if IS_WHOLE else short


class Samples:
    """Values of which `make test` takes one in turn, `make proof` all."""

    def __init__(self, values: Sequence[_T], at_once: int = 1) -> None:
        self._values = values
        self._turns = cycle(values)
        self._at_once = len(values) if IS_WHOLE else at_once

    def __iter__(self) -> Iterator[_T]:
        return iter(self._values) if IS_WHOLE else (next(self._turns) for _ in range(self._at_once))
