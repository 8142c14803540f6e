"""Count the keys of a JSON value, such as an event's properties, against `settings.MAX_KEYS`."""

from typing import Any

from django.conf import settings

_CONTAINERS = frozenset({dict, list})


def has_too_many_keys(value: Any) -> bool:
    """Tell whether a value has more than `settings.MAX_KEYS` keys in all its objects together."""
    most: int = settings.MAX_KEYS
    # Most are flat, and this is asked of every event.
    if isinstance(value, dict) and _CONTAINERS.isdisjoint(map(type, value.values())):
        return len(value) > most
    count, waiting = 0, [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            count += len(current)
            if count > most:
                return True
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(item for item in current if isinstance(item, dict | list))
    return False
