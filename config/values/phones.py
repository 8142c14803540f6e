"""Canonical form of phone numbers."""

import re
import unicodedata
from contextlib import suppress
from functools import lru_cache
from typing import Final

import phonenumbers

from config.values.characters import JOINERS, VISIBLE

_EXTENSION: Final = re.compile(
    r"\s*(?:;ext=|,,+|[;#]|\b(?:ext|extn|extension|int|anexo|доб)\b[.:]?|(?<=[\d\s])x[.:]?)\s*\d{1,9}\s*#?\s*$",
    re.IGNORECASE,
)
# As most of the world dials abroad, sometimes behind the "+" that stands for just that.
_DIALLED_ABROAD: Final = re.compile(r"\A(?:tel:)?[^\w+]*\+?[^\w+]*00[^\w+]*(?=[1-9])", re.IGNORECASE)
_INTERNATIONAL: Final = re.compile(r"(?:tel:)?[^\w+]*\+", re.IGNORECASE)
_REMARK: Final = re.compile(r"\s*\([^()\d]*\)\s*$")
# Fewer digits are the beginning of one that goes on in letters.
_FULL_NUMBER: Final = 7
_LONGEST: Final = 1_000
"""Longest text that is parsed, in characters: normalising takes quadratic time."""


@lru_cache(maxsize=8192)
def canonical_phone(text: str) -> str | None:
    """Return E.164 where the number is possible, else its `+` and digits; None if there is no digit.

    Extensions are dropped: they belong to the same line.
    """
    if len(text) > _LONGEST:
        return None
    spelled = _spelled(text)
    spelled = _REMARK.sub("", spelled)
    bare = _without_remark(spelled)
    for candidate in (bare, _DIALLED_ABROAD.sub("+", bare), spelled, _DIALLED_ABROAD.sub("+", spelled)):
        if (number := _possible_number(candidate)) is not None:
            return number
    dialled = _without_remark(_EXTENSION.sub("", spelled))
    if phonenumbers.is_alpha_number(dialled):
        dialled = phonenumbers.convert_alpha_characters_in_number(dialled)
    digits = "".join(filter(str.isdecimal, dialled))
    if digits and _INTERNATIONAL.match(dialled):
        return _possible_number("+" + digits) or "+" + digits
    return digits or None


def canonical_phone_part(text: str, *, starts: bool = False) -> str | None:
    """Return the canonical form of a part of a number, such as `+49 (0)30`; None if it is invalid."""
    if len(text) > _LONGEST:
        return None
    spelled = _EXTENSION.sub("", _spelled(text))
    if starts:
        spelled = _DIALLED_ABROAD.sub("+", spelled)
    if spelled.startswith("+"):
        spelled = spelled.replace("(0)", "")
    digits = "".join(filter(str.isdecimal, spelled))
    return ("+" if spelled.startswith("+") else "") + digits if digits or spelled == "+" else None


def _spelled(text: str) -> str:
    spelled = unicodedata.normalize("NFKC", text.translate(VISIBLE)).strip(f"{JOINERS} \t\r\n")
    return "".join(str(int(char)) if char.isdecimal() else char for char in spelled)


def _without_remark(text: str) -> str:
    """Drop a remark after a number, as in "555-1234 (home)", but not letters as in "1-800 FLOWERS"."""
    digits = [place for place, character in enumerate(text) if character.isdecimal()]
    if len(digits) < _FULL_NUMBER:
        return text
    behind = text[digits[-1] + 1 :]
    return text if behind.removeprefix("-")[:1].isalpha() else text[: digits[-1] + 1]


def _possible_number(text: str) -> str | None:
    with suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(text)
        if phonenumbers.is_possible_number(number):
            return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return None
