"""Parameters of lists: how many, and from where."""

from collections.abc import Mapping
from typing import Final

from dialects.body_checks import FieldProblem
from dialects.omnisend.errors import InvalidTrack

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 250
_MAX_OFFSET: Final = 2**31


def page_bounds(parameters: Mapping[str, str]) -> tuple[int, int]:
    """Return `limit`, 1 to 250, and `offset`. Raises InvalidTrack with every problem."""
    problems: list[FieldProblem] = []
    limit = _number(parameters, "limit", DEFAULT_LIMIT, (1, MAX_LIMIT), problems)
    offset = _number(parameters, "offset", 0, (0, _MAX_OFFSET), problems)
    if problems:
        raise InvalidTrack(problems)
    return limit, offset


def _number(
    parameters: Mapping[str, str],
    name: str,
    default: int,
    bounds: tuple[int, int],
    problems: list[FieldProblem],
) -> int:
    text = parameters.get(name, str(default))
    least, most = bounds
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    problems.append(FieldProblem(name, "invalid_format", f"must be {least} to {most}"))
    return default
