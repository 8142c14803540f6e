"""Normalize identifiers, for storing and for look-up alike. Never raises."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from config.values.emails import canonical_email
from config.values.endpoints import canonical_chat
from config.values.names import composed
from config.values.phones import canonical_phone
from contacts.models import Identifier

MAX_LENGTH = 512
MAX_KIND_LENGTH = 64
# Those that mean the same in every workspace; any other kind is the name of an identity field.
BUILT_IN_KINDS = frozenset(
    {Identifier.EMAIL, Identifier.PHONE, Identifier.EXTERNAL_ID, Identifier.ANONYMOUS_ID}
)

Identification = tuple[str, str]


def normalize_identifier(kind: str, text: object) -> str | None:
    """Return how an identifier is stored and looked up; None if `text` cannot be one of this kind."""
    return (
        _normalized_usual(kind, text)
        if type(text) is str and len(text) <= _USUAL
        else _normalized(kind, text)
    )


def _normalized(kind: str, text: object) -> str | None:
    spelled = _clean_text(text)
    if not spelled or len(spelled) > MAX_LENGTH or len(kind) > MAX_KIND_LENGTH:
        return None
    normalized = _NORMALIZERS.get(kind, composed)(spelled)
    return normalized if normalized and len(normalized) <= MAX_LENGTH else None


# Most events of a file are about persons whom one shortly before was about.
_normalized_usual = lru_cache(maxsize=20_000)(_normalized)
_USUAL: Final = 100


def normalize_all(identifiers: Sequence[tuple[str, object]]) -> tuple[Identification, ...]:
    """Return the usable ones of `identifiers`, normalised, each once, in their order."""
    if len(identifiers) == 1:  # as most are named
        kind, value = identifiers[0]
        single = normalize_identifier(kind, value)
        return ((kind, single),) if single is not None else ()
    normalized = ((kind, normalize_identifier(kind, value)) for kind, value in identifiers)
    return tuple(dict.fromkeys((kind, value) for kind, value in normalized if value is not None))


def _clean_text(text: object) -> str:
    match text:
        case str():
            return text.strip() if _is_storable(text) else ""
        case bool():
            return ""
        case int() if text.bit_length() <= 64:
            return str(text)
        case _:
            return ""


def _is_storable(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


_NORMALIZERS: dict[str, Callable[[str], str | None]] = {
    Identifier.EMAIL: canonical_email,
    Identifier.PHONE: canonical_phone,
    # Where the channel of that name writes to.
    "telegram": canonical_chat,
}
