"""The fields of a form, and where their answers go."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from campaigns.errors import InvalidForm
from campaigns.models import Form
from contacts.models import Identifier

TYPES: Final = ("text", "email", "phone", "number", "checkbox", "select")


TRAP: Final = "_website"
"""Honeypot: a hidden field that only machines fill in."""


MAX_FIELDS: Final = 100


MAX_WORD: Final = 255


_MAX_OPTIONS: Final = 500


_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


IDENTITIES: Final = {"email": Identifier.EMAIL, "phone": Identifier.PHONE}


_OWN_NAMES: Final = ("email", "phone", "firstName", "lastName")


ATTRIBUTE: Final = "attributes."


_FIELD_KEYS: Final = frozenset({"name", "label", "type", "required", "options", "mapsTo", "maps_to"})


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form, and where its answer goes."""

    name: str
    type: str = "text"
    label: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    # email, phone, firstName, lastName or attributes.<name>; "": the answer is in the event only.
    maps_to: str = ""


def fields_of(form: Form) -> list[FormField]:
    """Return the fields of a form. Raises InvalidForm."""
    return read_fields(form.fields)


def read_fields(raw: object) -> list[FormField]:
    """Parse the fields of a form. Raises InvalidForm, which names the first invalid one."""
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not 0 < len(raw) <= MAX_FIELDS:
        raise InvalidForm("fields", f"Must be a list of 1 to {MAX_FIELDS} fields")
    fields = [_read_field(f"fields.{place}", field) for place, field in enumerate(raw)]
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise InvalidForm("fields", "Two fields have the same name")
    if not any(field.maps_to in IDENTITIES and field.required for field in fields):
        raise InvalidForm(
            "fields", "One required field must map to email or phone: it says whose answers they are"
        )
    return fields


def _read_field(path: str, raw: object) -> FormField:
    if not isinstance(raw, Mapping):
        raise InvalidForm(path, "Must be an object")
    if unknown := sorted(set(map(str, raw)) - _FIELD_KEYS):
        raise InvalidForm(f"{path}.{unknown[0]}", "This key is not known")
    if not isinstance(raw.get("required") or False, bool):
        raise InvalidForm(f"{path}.required", "Must be true or false")
    name, type_ = raw.get("name"), raw.get("type", "text")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == TRAP:
        raise InvalidForm(f"{path}.name", "Must begin with a letter and have letters, digits, _ . - only")
    if type_ not in TYPES:
        raise InvalidForm(f"{path}.type", f"Must be one of {', '.join(TYPES)}")
    maps_to = raw.get("mapsTo", raw.get("maps_to"))
    maps_to = (type_ if type_ in IDENTITIES else "") if maps_to is None else maps_to
    if not _is_target(maps_to):
        raise InvalidForm(f"{path}.mapsTo", f"Must be one of {', '.join(_OWN_NAMES)}, or attributes.<name>")
    options = raw.get("options") or ()
    if (
        not isinstance(options, list | tuple)
        or len(options) > _MAX_OPTIONS
        or not all(map(_is_word, options))
    ):
        raise InvalidForm(f"{path}.options", f"Must be a list of at most {_MAX_OPTIONS} texts")
    if type_ == "select" and not options:
        raise InvalidForm(f"{path}.options", "This is required")
    label = raw.get("label") or name
    if not _is_word(label):
        raise InvalidForm(f"{path}.label", f"Must be a text of at most {MAX_WORD} characters")
    return FormField(name, type_, label, bool(raw.get("required")), tuple(options), maps_to)


def _is_target(maps_to: object) -> bool:
    return isinstance(maps_to, str) and (
        maps_to in ("", *_OWN_NAMES)
        or (
            maps_to.startswith(ATTRIBUTE)
            and 0 < len(maps_to) - len(ATTRIBUTE) <= 64
            and "\x00" not in maps_to
        )
    )


def _is_word(text: object) -> bool:
    return isinstance(text, str) and len(text) <= MAX_WORD and "\x00" not in text
