"""How names are spelled: tags, events, properties, keys of messages."""

import unicodedata
from typing import Final

_MOST_MARKS: Final = 30
"""On one base, as in Unicode's stream-safe text (UAX #15, 13): no script needs as many."""
# They begin with a mark, though they are of no combining class themselves.
_LIKE_MARKS: Final = "\u0f73\u0f75\u0f81"


def composed(text: str) -> str:
    """Return a name in Unicode's composed form (NFC): however its accents were typed, it is one name.

    Marks are sorted, in a time that grows with the square of their number: a text with very many stays as it
    is.
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
