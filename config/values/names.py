"""Normalise names of tags, events, properties and message keys."""

import unicodedata
from typing import Final

_MOST_MARKS: Final = 30
"""Marks on a base character, as in Unicode's stream-safe format (UAX #15, 13)."""
# They begin with a mark, though they are of no combining class themselves.
_LIKE_MARKS: Final = "\u0f73\u0f75\u0f81"


def composed(text: str) -> str:
    """Return a name in Unicode's composed form (NFC).

    Sorting marks takes quadratic time: a text with very many is returned unchanged.
    """
    return text if text.isascii() or _is_stacked(text) else unicodedata.normalize("NFC", text)


def _is_stacked(text: str) -> bool:
    if len(text) <= _MOST_MARKS:
        return False
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) or character in _LIKE_MARKS else 0
        if marks > _MOST_MARKS:
            return True
    return False
