"""Arrays of PostgreSQL as text: the driver spells them item by item, which takes up to sixty times as long."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson
from django.db.models import F, Lookup


def array(values: Iterable[Any]) -> str:
    """Return `{...}` for a parameter that a statement casts: ids, moments, texts, numbers, or None, all of a kind."""
    spelled = orjson.dumps(list(values)).decode()
    if "\\" in spelled:
        spelled = _ESCAPED.sub(_unescaped, spelled)
    return f"{{{spelled[1:-1]}}}"


def one_of(column: str, values: Iterable[Any]) -> OneOf:
    """Return the condition that a column is one of some values, however many: the statement stays the same."""
    return OneOf(F(column), list(values))


class OneOf(Lookup):
    """Whether a column is in an array; `__in` has a parameter for each value, so a text for each number of them."""

    lookup_name = "one_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the condition."""
        text, parameters = self.process_lhs(compiler, connection)
        kind = self.lhs.output_field.db_type(connection)
        return f"{text} = ANY (%s::{kind}[])", (*parameters, array(self.rhs))


# JSON spells some characters by escapes that mean another one in an array: there they stand as they are.
_ESCAPED: Final = re.compile(r"\\(?:u[0-9a-f]{4}|.)")
_KEPT: Final = ('\\"', "\\\\")


def _unescaped(found: re.Match[str]) -> str:
    escape = found[0]
    return escape if escape in _KEPT else str(orjson.loads(f'"{escape}"'))
