"""Answers of visitors: checked by the form's fields, and what they say of the contact."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from campaigns.errors import InvalidSubmission
from campaigns.forms.fields import ATTRIBUTE, IDENTITIES, MAX_WORD, FormField, fields_of
from campaigns.models import Form
from contacts.identifiers import normalize_identifier

MAX_ANSWER: Final = 5_000


def check_answers(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Validate answers by the form's fields; unknown ones are left out. Raises InvalidSubmission."""
    checked: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for field in fields_of(form):
        try:
            value = _READERS[field.type](field, answers.get(field.name))
        except ValueError as error:
            errors[field.name] = [str(error)]
            continue
        if value is not None:
            checked[field.name] = value
        elif field.required:
            errors[field.name] = ["This field is required."]
    if errors:
        raise InvalidSubmission(errors)
    return checked


def _text(field: FormField, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ANSWER or "\x00" in value or _has_surrogates(value):
        raise ValueError(f"Must be a text of at most {MAX_ANSWER} characters.")
    return value.strip() or None


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _identity(field: FormField, value: object) -> str | None:
    text = _text(field, value)
    if text is not None and normalize_identifier(IDENTITIES[field.type], text) is None:
        raise ValueError("Must be an e-mail address." if field.type == "email" else "Must be a phone number.")
    return text


def _number(field: FormField, value: object) -> float | int | None:
    if value is None or value == "":
        return None
    try:
        number = (
            float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        )
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("Must be a number.")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _checkbox(field: FormField, value: object) -> bool | None:
    is_on = value in (True, "on", "true", "1", 1)
    if not is_on and value not in (None, False, "", "off", "false", "0", 0):
        raise ValueError("Must be true or false.")
    # A box that has to be ticked and is not is no answer.
    return None if field.required and not is_on else is_on


def _choice(field: FormField, value: object) -> str | None:
    text = _text(field, value)
    if text is not None and text not in field.options:
        raise ValueError("Must be one of the options.")
    return text


_READERS: Final[Mapping[str, Callable[[FormField, Any], Any]]] = {
    "text": _text,
    "email": _identity,
    "phone": _identity,
    "number": _number,
    "checkbox": _checkbox,
    "select": _choice,
}


def mapped_answers(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers by the contact field that they map to."""
    return {
        field.maps_to: answers[field.name]
        for field in fields_of(form)
        if field.maps_to and field.name in answers
    }


def identities_of(mapped: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((kind, mapped[name]) for name, kind in IDENTITIES.items() if name in mapped)


def attributes_of(mapped: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(ATTRIBUTE): mapped[name] for name in mapped if name.startswith(ATTRIBUTE)}


def name_of(value: object) -> str | None:
    return None if value is None else str(value)[:MAX_WORD]
