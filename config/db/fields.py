"""Model fields: names in NFC, JSON whose numbers survive storage, keys that the database leaves alone."""

import json
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models
from django.db.models.expressions import Combinable

from config.values.names import composed

_INT64 = range(-(2**63), 2**63)
_Set = TypeVar("_Set")
_Get = TypeVar("_Get")


if TYPE_CHECKING:
    _CharField = models.CharField[str | Combinable, str]
else:  # not generic when it runs
    _CharField = models.CharField


class NameField(_CharField):
    """A name, normalised to NFC when it is saved or looked up."""

    def to_python(self, value: Any) -> Any:
        """Return the name in NFC."""
        name = super().to_python(value)
        return composed(name) if isinstance(name, str) else name

    def get_prep_value(self, value: Any) -> Any:
        """Return the name in NFC, for the database."""
        name = super().get_prep_value(value)
        return composed(name) if isinstance(name, str) else name

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Normalise the instance's value, too."""
        name = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, name)
        return name

    def deconstruct(self) -> Any:
        """Return a CharField: migrations need not know of the normalisation."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class JSONField(models.JSONField):
    """JSON read back with the same numbers: the database writes 1e30 as an integer of 31 digits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "decoder": _Decoder})

    def deconstruct(self) -> Any:
        """Return a JSONField: migrations need not know how it is read."""
        name, _, args, kwargs = super().deconstruct()
        del kwargs["decoder"]
        return name, "django.db.models.JSONField", args, kwargs


class UnconstrainedForeignKey(models.ForeignKey[_Set, _Get]):
    """A foreign key without constraint and index in the database, for tables that are written in bulk."""

    def __init__(
        self,
        to: Any,
        on_delete: Any = models.DO_NOTHING,
        *,
        null: bool = False,
        related_name: str = "+",
        **options: Any,
    ) -> None:
        options |= {"db_constraint": False, "db_index": False}
        super().__init__(to, on_delete, null=null, related_name=related_name, **options)

    def deconstruct(self) -> Any:
        """Return a ForeignKey: to migrations it is that, with its options."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.ForeignKey", args, kwargs


def loads(text: str) -> Any:
    """Parse JSON from the database; integers beyond 64 bits become floats."""
    return json.loads(text, cls=_Decoder)


class _Decoder(json.JSONDecoder):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, parse_int=_number)


def _number(text: str) -> int | float:
    number = int(text)
    return number if number in _INT64 else float(text)
