"""UUIDv7 ids, generated here: PostgreSQL 15 cannot, and ids of events carry the event's time."""

import hashlib
import random
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID, SafeUUID

import msgspec

from config import clock

_order = threading.Lock()
_last_millisecond = _last_place = 0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY = 86_400_000
_RANDOM_BITS = (1 << 80) - 1
_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_BELOW_SEQUENCE = (1 << 64) - 1
_FREE_BITS = ~((0xF << 76) | (0b11 << 62)) & _RANDOM_BITS


def uuid7(at: datetime | None = None, sequence: int | None = None) -> UUID:
    """Return a new UUIDv7 whose time is `at` (milliseconds, UTC), by default now.

    Ids of one millisecond are in the order of their `sequence` (modulo 4,096) where one is given.
    """
    chance = random.getrandbits(80)  # not a secret; and `random` seeds itself anew after a fork
    if sequence is not None:
        chance = (chance & _BELOW_SEQUENCE) | (sequence & 0xFFF) << 64
    return _with_time(at or clock.now(), chance)


def ordered_uuid7() -> UUID:
    """Return a new UUIDv7 of now, in order within a process (up to 4,096 per millisecond)."""
    global _last_millisecond, _last_place
    with _order:
        now = clock.now()
        millisecond = _milliseconds(now)
        _last_place = _last_place + 1 if millisecond == _last_millisecond else 0
        _last_millisecond = millisecond
        return uuid7(now, _last_place)


def keyed_id(workspace_id: UUID, key: str, at: datetime) -> UUID:
    """Return the UUIDv7 derived from a workspace, key and time: always the same."""
    hashed = _hash_of(workspace_id.int).copy()
    hashed.update(key.encode())
    return _with_time(at, int.from_bytes(hashed.digest()[:10]))


@lru_cache(maxsize=64)
def _hash_of(workspace: int) -> "hashlib._Hash":
    """Return the hash of what all keys of a workspace begin with."""
    return hashlib.sha256(workspace.to_bytes(16))


def first_id_at(at: datetime) -> UUID:
    """Return the smallest id of a time, as a bound for ranges."""
    return UUID(int=_milliseconds(at) << 80)


def time_of(identifier: UUID) -> datetime:
    """Return the time (UTC, milliseconds) of a UUIDv7."""
    return _EPOCH + (identifier.int >> 80) * _MILLISECOND


def days_of(identifiers: Iterable[UUID]) -> list[datetime]:
    """Return the distinct days (UTC, at midnight) of UUIDv7s."""
    return [
        _EPOCH + timedelta(days=day) for day in {(identifier.int >> 80) // _DAY for identifier in identifiers}
    ]


NO_ID = UUID(int=0)
"""An id that no row has, in place of malformed ids in look-ups."""


def parse_uuid(text: object) -> UUID | None:
    """Parse a UUID; None if it is none, for clients' ids are opaque."""
    if isinstance(text, UUID):
        return text
    if not isinstance(text, str) or len(text) not in (32, 36) or not text.isascii():
        return None
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        pass  # hyphens elsewhere, say
    try:
        return UUID(text)
    except ValueError:
        return None


def _with_time(at: datetime, random: int) -> UUID:
    # As UUID(int=…), without its checks of five other arguments.
    made = object.__new__(UUID)
    _set_int(made, (_milliseconds(at) << 80) | _VERSION_AND_VARIANT | (random & _FREE_BITS))
    _set_safety(made, _SAFETY)
    return made


_set_int = UUID.__dict__["int"].__set__
_set_safety = UUID.__dict__["is_safe"].__set__
_SAFETY = SafeUUID.unknown


def _milliseconds(at: datetime) -> int:
    passed = at - _EPOCH  # by parts: dividing the timedelta takes four times as long
    return max((passed.days * 86_400 + passed.seconds) * 1_000 + passed.microseconds // 1_000, 0)
