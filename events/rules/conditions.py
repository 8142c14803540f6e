"""Conditions on an event's own fields: validated when saved, compiled to SQL when applied."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from events.errors import InvalidCondition

PROPERTIES = ("metadata.", "properties.")
CONTEXT_FIELDS = frozenset(
    {
        "sessionId",
        "pageUrl",
        "pageTitle",
        "pageReferrer",
        "pageDuration",
        "referrer",
        "utmSource",
        "utmMedium",
        "utmCampaign",
        "ipAddress",
        "userAgent",
    }
)
_MAX_PATH = 20
_MAX_LIST = 1_000


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


ALWAYS = Sql("true")


class EventConditions:
    """Conditions on one event, compiled together so that each path of the event is read once.

    The columns of `events_event` are taken from an alias; `columns` are what each path gives.
    """

    def __init__(self, alias: str = "e") -> None:
        self._alias = alias
        self._paths: dict[tuple[str, ...], int] = {}

    def add(self, condition: Mapping[str, Any] | None) -> Sql:
        """Return the SQL that is true where the condition holds. A missing value never matches."""
        if condition is None:
            return ALWAYS
        return compile_operator(
            condition["operator"], self.column(condition["field"]), condition.get("value")
        )

    def column(self, field: str) -> str:
        """Return the name of the column, jsonb or null, that holds a field of the event."""
        return f"v{self._paths.setdefault(path_of(field), len(self._paths))}"

    @property
    def columns(self) -> Sql:
        """The select list that the compiled conditions read: v0, v1, …; a JSON null is a missing value."""
        if not self._paths:
            return Sql("1")
        return Sql(
            ", ".join(
                f"NULLIF({self._alias}.{path[0]} #> %s::text[], 'null'::jsonb) AS v{place}"
                for path, place in self._paths.items()
            ),
            tuple(list(path[1:]) for path in self._paths),
        )


def validate_condition(condition: object) -> None:
    """Check a condition, or None for no condition. Raises InvalidCondition with the path of the fault."""
    if condition is None:
        return
    if not isinstance(condition, dict):
        raise InvalidCondition("condition", "The condition must be an object.")
    if unknown := sorted(set(condition) - {"field", "operator", "value"}):
        raise InvalidCondition(f"condition.{unknown[0]}", "This key is not known.")
    if (fault := field_error(condition.get("field"))) is not None:
        raise InvalidCondition("condition.field", fault)
    operator = condition.get("operator")
    if not isinstance(operator, str) or operator not in _COMPILERS:
        raise InvalidCondition("condition.operator", f"The operator must be one of {', '.join(_COMPILERS)}.")
    if (fault := value_error(operator, condition.get("value"))) is not None:
        raise InvalidCondition("condition.value", fault)


def compile_operator(operator: str, column: str, value: Any) -> Sql:
    """Return the SQL that compares a jsonb column; null, hence not true, where the value is missing."""
    return _COMPILERS[operator](column, value)


def field_error(field: object) -> str | None:
    """Return what is wrong with the name of an event's field, if anything is."""
    if not isinstance(field, str):
        return "The field must be a text."
    if field in CONTEXT_FIELDS:
        return None
    parts = path_of(field)[1:]
    if not field.startswith(PROPERTIES) or "" in parts or len(parts) > _MAX_PATH or "\x00" in field:
        return 'The field must be "metadata.…" or one of the event\'s own fields.'
    return None


def value_error(operator: str, value: object) -> str | None:
    """Return why an operator cannot take a value, None if it can."""
    if operator in _WITHOUT_VALUE:
        return None if value is None else f"The operator {operator} takes no value."
    is_sound, expected = _VALUES[operator]
    return None if is_sound(value) else f"The operator {operator} needs {expected}."


def path_of(field: str) -> tuple[str, ...]:
    """Return the column and the keys below it."""
    if field in CONTEXT_FIELDS:
        return ("context", field)
    _, _, rest = field.partition(".")
    return ("properties", *rest.split("."))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _is_ordered(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_list(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _MAX_LIST and all(map(_is_scalar, value))


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(map(_is_ordered, value))
        and isinstance(value[0], str) == isinstance(value[1], str)
    )


_VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("eq", "neq"), (_is_scalar, "a text, a number or a boolean")),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), (_is_ordered, "a number or a text")),
    **dict.fromkeys(("in", "not_in"), (_is_list, "a list of texts, numbers or booleans")),
    **dict.fromkeys(("contains", "not_contains"), (_is_scalar, "a text, a number or a boolean")),
    **dict.fromkeys(("starts_with", "ends_with"), (_is_text, "a text")),
    "between": (_is_range, "a list of two numbers or two texts"),
}
_WITHOUT_VALUE = frozenset({"exists", "not_exists"})
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _eq(column: str, value: Any) -> Sql:
    return Sql(f"{column} = %s::jsonb", (_json(value),))


def _neq(column: str, value: Any) -> Sql:
    return Sql(f"{column} <> %s::jsonb", (_json(value),))


def _in(column: str, value: Any) -> Sql:
    return Sql(f"{column} = ANY(%s::jsonb[])", ([_json(item) for item in value],))


def _not_in(column: str, value: Any) -> Sql:
    return Sql(f"{column} <> ALL(%s::jsonb[])", ([_json(item) for item in value],))


def _ordered(symbol: str) -> Callable[[str, Any], Sql]:
    # Only like compares with like: PostgreSQL's jsonb would put every number before every text. Texts compare
    # by code point, whatever the database's locale.
    def compile_(column: str, value: Any) -> Sql:
        if isinstance(value, str):
            return Sql(
                f"(jsonb_typeof({column}) = 'string' AND ({column} #>> '{{}}') COLLATE \"C\" {symbol} %s)",
                (value,),
            )
        return Sql(f"(jsonb_typeof({column}) = 'number' AND {column} {symbol} %s::jsonb)", (_json(value),))

    return compile_


def _between(column: str, value: Any) -> Sql:
    low, high = _ordered(">=")(column, value[0]), _ordered("<=")(column, value[1])
    return Sql(f"({low.text} AND {high.text})", (*low.parameters, *high.parameters))


def _contains(column: str, value: Any) -> Sql:
    """A text within a text, or an item of a list."""
    text = value if isinstance(value, str) else _json(value)
    return Sql(
        f"CASE jsonb_typeof({column}) WHEN 'array' THEN {column} @> %s::jsonb"
        f" WHEN 'string' THEN position(%s in {column} #>> '{{}}') > 0 END",
        (_json([value]), text),
    )


def _not_contains(column: str, value: Any) -> Sql:
    contains = _contains(column, value)
    return Sql(f"NOT ({contains.text})", contains.parameters)


def _starts_with(column: str, value: Any) -> Sql:
    return Sql(f"(jsonb_typeof({column}) = 'string' AND starts_with({column} #>> '{{}}', %s))", (value,))


def _ends_with(column: str, value: Any) -> Sql:
    return Sql(
        f"(jsonb_typeof({column}) = 'string' AND right({column} #>> '{{}}', %s::int) = %s)",
        (len(value), value),
    )


_COMPILERS: dict[str, Callable[[str, Any], Sql]] = {
    "eq": _eq,
    "neq": _neq,
    **{operator: _ordered(symbol) for operator, symbol in _COMPARISONS.items()},
    "between": _between,
    "in": _in,
    "not_in": _not_in,
    "contains": _contains,
    "not_contains": _not_contains,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "exists": lambda column, _: Sql(f"{column} IS NOT NULL"),
    "not_exists": lambda column, _: Sql(f"{column} IS NULL"),
}
OPERATORS = frozenset(_COMPILERS)
