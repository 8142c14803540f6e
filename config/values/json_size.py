"""Count the keys of one JSON value, an event's properties say, against `settings.MAX_KEYS`."""

from typing import Any

from django.conf import settings


def has_too_many_keys(value: Any) -> bool:
    """Tell whether a value has more than `settings.MAX_KEYS` keys, those of all objects in it counted."""
    most: int = settings.MAX_KEYS
    count, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            count += len(one)
            if count > most:
                return True
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(item for item in one if isinstance(item, dict | list))
    return False
