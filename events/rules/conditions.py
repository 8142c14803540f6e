"""Conditions on an event's own fields: validated when saved, compiled to SQL when applied."""

from collections.abc import Callable
from typing import Any

import orjson

from config.db.sql import Sql, join, sql
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


class EventConditions:
    """Conditions on one event, compiled together so that each path of the event is read once.

    The columns of `events_event` are taken from an alias; `columns` are what each path gives.
    """

    def __init__(self, alias: str = "e") -> None:
        self._alias = alias
        self._paths: dict[tuple[str, ...], int] = {}

    def column(self, field: str) -> Sql:
        """Return the name of the column, jsonb or null, that holds a field of the event."""
        return sql(f"v{self._paths.setdefault(path_of(field), len(self._paths))}")

    @property
    def columns(self) -> Sql:
        """The select list that the compiled conditions read: v0, v1, …; a JSON null is a missing value."""
        if not self._paths:
            return sql("1")
        return join(
            ", ",
            [
                sql(f"NULLIF({self._alias}.{path[0]} #> {{:text[]}}, 'null'::jsonb) AS v{place}", path[1:])
                for path, place in self._paths.items()
            ],
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


def compile_operator(operator: str, column: Sql, value: Any) -> Sql:
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


def _with_json(template: str) -> Callable[[Sql, Any], Sql]:
    return lambda column, value: sql(template, column, _json(value))


def _with_list(template: str) -> Callable[[Sql, Any], Sql]:
    return lambda column, value: sql(template, column, [_json(item) for item in value])


def _ordered(symbol: str) -> Callable[[Sql, Any], Sql]:
    # Only like compares with like: PostgreSQL's jsonb would put every number before every text. Texts compare
    # by code point, whatever the database's locale.
    of_texts = (
        f"(jsonb_typeof({{0}}) = 'string' AND ({{0}} #>> '{{{{}}}}') COLLATE \"C\" {symbol} {{1:text}})"
    )
    of_numbers = f"(jsonb_typeof({{0}}) = 'number' AND {{0}} {symbol} {{1:jsonb}})"

    def compile_(column: Sql, value: Any) -> Sql:
        if isinstance(value, str):
            return sql(of_texts, column, value)
        return sql(of_numbers, column, _json(value))

    return compile_


def _between(column: Sql, value: Any) -> Sql:
    return sql("({} AND {})", _ordered(">=")(column, value[0]), _ordered("<=")(column, value[1]))


def _contains(column: Sql, value: Any) -> Sql:
    """A text within a text, or an item of a list."""
    return sql(
        "CASE jsonb_typeof({0}) WHEN 'array' THEN {0} @> {1:jsonb}"
        " WHEN 'string' THEN position({2:text} in {0} #>> '{{}}') > 0 END",
        column,
        _json([value]),
        value if isinstance(value, str) else _json(value),
    )


def _ends_with(column: Sql, value: Any) -> Sql:
    return sql(
        "(jsonb_typeof({0}) = 'string' AND right({0} #>> '{{}}', {1:int}) = {2:text})",
        column,
        len(value),
        value,
    )


_COMPILERS: dict[str, Callable[[Sql, Any], Sql]] = {
    "eq": _with_json("{} = {:jsonb}"),
    "neq": _with_json("{} <> {:jsonb}"),
    **{operator: _ordered(symbol) for operator, symbol in _COMPARISONS.items()},
    "between": _between,
    "in": _with_list("{} = ANY({:jsonb[]})"),
    "not_in": _with_list("{} <> ALL({:jsonb[]})"),
    "contains": _contains,
    "not_contains": lambda column, value: sql("NOT ({})", _contains(column, value)),
    "starts_with": lambda column, value: sql(
        "(jsonb_typeof({0}) = 'string' AND starts_with({0} #>> '{{}}', {1:text}))", column, value
    ),
    "ends_with": _ends_with,
    "exists": lambda column, _: sql("{} IS NOT NULL", column),
    "not_exists": lambda column, _: sql("{} IS NULL", column),
}
OPERATORS = frozenset(_COMPILERS)
