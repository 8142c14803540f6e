"""Arrays of PostgreSQL as text: the driver spells them item by item, which takes up to sixty times as long."""

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson


def array(values: Iterable[Any]) -> str:
    """Return `{...}` for a parameter that a statement casts: ids, moments, texts, finite numbers, or None, of a kind.

    No decimals; of a moment's offset only hours and minutes count.
    """
    spelled = orjson.dumps(list(values)).decode()
    if "\\" in spelled:
        spelled = _ESCAPED.sub(_unescaped, spelled)
    return f"{{{spelled[1:-1]}}}"


# JSON spells some characters by escapes that mean another one in an array: there they stand as they are.
_ESCAPED: Final = re.compile(r"\\(?:u[0-9a-f]{4}|.)")
_KEPT: Final = ('\\"', "\\\\")


def _unescaped(found: re.Match[str]) -> str:
    escape = found[0]
    return escape if escape in _KEPT else str(orjson.loads(f'"{escape}"'))
