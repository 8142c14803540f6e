"""Rules in words, for staff."""

from collections.abc import Mapping
from typing import Any

from config.http.rendering import dumps

Node = Mapping[str, Any]

GROUPS = {"AND": "All of these hold", "OR": "At least one of these holds", "NOT": "None of these holds"}
_OPERATORS = {
    "eq": "is",
    "neq": "is not",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "between": "is between",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
    "not_contains": "does not contain",
    "starts_with": "starts with",
    "ends_with": "ends with",
    "exists": "is there",
    "not_exists": "is missing",
    "before": "is before",
    "after": "is after",
    "within": "is within",
}
_AGGREGATES = {
    "count": "number of",
    "sum": "sum of",
    "avg": "average of",
    "min": "least",
    "max": "greatest",
    "first": "first",
    "last": "last",
    "distinct": "number of different values of",
}


def worded(condition: Node, names: Mapping[str, str]) -> str:
    """Return a condition, or the head of a group, in words; `names`: segment names by id."""
    if "conditions" in condition:
        return GROUPS[condition["operator"]]
    match condition["type"]:
        case "event":
            return _event(condition)
        case "channel":
            return f"{condition['channel']} is {condition.get('status', 'OPTED_IN')}"
        case "tag":
            has = "has" if condition.get("operator", "has") == "has" else "does not have"
            return f"{has} the tag {as_text(condition['value'])}"
        case "segment":
            is_in = "is in" if condition.get("operator", "in") == "in" else "is not in"
            name = names.get(str(condition["segmentId"]), "(deleted segment)")
            return f"{is_in} the segment {as_text(name)}"
        case "company":
            return _company(condition)
        case _:
            return _compared(condition["field"], condition)


def as_text(value: Any) -> str:
    """Return a JSON value for people: texts in quotes, lists with commas."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"“{value}”"
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    return dumps(value).decode()


def _event(condition: Node) -> str:
    aggregate = condition.get("aggregate", "count")
    measured = f"{condition['property']} of " if condition.get("property") else ""
    subject = f"{_AGGREGATES[aggregate]} {measured}{as_text(condition['eventType'])}"
    if filters := condition.get("filters"):
        subject += f" where {_filters(filters)}"
    if (window := condition.get("timeWindow")) is not None:
        subject += f", {_window(window)},"
    if "operator" not in condition:
        return f"{subject} is at least {as_text(condition.get('value', 1))}"
    return _compared(subject, condition)


def _filters(filters: Any) -> str:
    if isinstance(filters, list):
        return " and ".join(map(_filters, filters))
    if "conditions" not in filters:
        return _compared(filters["field"], filters)
    parts = [_filters(part) for part in filters["conditions"]]
    if filters["operator"] == "NOT":
        return f"not ({' or '.join(parts)})"
    joined = f" {filters['operator'].lower()} ".join(parts)
    return f"({joined})"


def _window(window: Any) -> str:
    if isinstance(window, str):
        return f"in the last {window}"
    bounds = {"from": "from", "to": "until"}
    return " ".join(f"{word} {window[key]}" for key, word in bounds.items() if window.get(key))


def _company(condition: Node) -> str:
    if not condition.get("field"):
        return "has no company" if condition.get("operator") == "not_exists" else "has a company"
    return _compared(f"the company's {condition['field']}", condition)


def _compared(subject: str, condition: Node) -> str:
    operator = condition["operator"]
    words = f"{subject} {_OPERATORS[operator]}"
    if operator in ("exists", "not_exists"):
        return words
    value = condition["value"]
    if operator == "between":
        words += f" {as_text(value[0])} and {as_text(value[1])}"
    elif operator == "within":
        words += f" the next {value[1:]}" if value.startswith("+") else f" the last {value.lstrip('-')}"
    else:
        words += f" {as_text(value)}"
    return f"{words}, or missing" if condition.get("whenMissing") else words
