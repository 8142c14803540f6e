"""Fields of models."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.expressions import Combinable

from config.values.names import composed

_INT64 = range(-(2**63), 2**63)


if TYPE_CHECKING:
    _CharField = models.CharField[str | Combinable, str]
else:  # not generic when it runs
    _CharField = models.CharField


class NameField(_CharField):
    """A name, in NFC where it is saved and where it is looked for."""

    def to_python(self, value: Any) -> Any:
        """Return the name as it is stored."""
        name = super().to_python(value)
        return composed(name) if isinstance(name, str) else name

    def get_prep_value(self, value: Any) -> Any:
        """Return the name as the database has it."""
        name = super().get_prep_value(value)
        return composed(name) if isinstance(name, str) else name

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Let the instance have the name that is stored."""
        name = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, name)
        return name

    def deconstruct(self) -> Any:
        """Return what makes the column; how it is spelled is of no concern to migrations."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class JSONField(models.JSONField):
    """JSON that is read as it was taken in: the database spells the number 1e30 as an integer of 31 digits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "decoder": _Decoder})

    def deconstruct(self) -> Any:
        """Return what makes the column; how it is read is of no concern to migrations."""
        name, _, args, kwargs = super().deconstruct()
        del kwargs["decoder"]
        return name, "django.db.models.JSONField", args, kwargs


def loads(text: str) -> Any:
    """Return JSON from the database as such a field reads it."""
    return json.loads(text, cls=_Decoder)


class _Decoder(json.JSONDecoder):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, parse_int=_number)


def _number(text: str) -> int | float:
    number = int(text)
    return number if number in _INT64 else float(text)
