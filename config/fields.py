"""Fields of models."""

import json
from typing import Any

from django.db import models

_INT64 = range(-(2**63), 2**63)


class JSONField(models.JSONField):
    """JSON that is read as it was taken in: the database spells the number 1e30 as an integer of 31 digits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "decoder": _Decoder})

    def deconstruct(self) -> Any:
        """Return what makes the column; how it is read is of no concern to migrations."""
        name, _, args, kwargs = super().deconstruct()
        del kwargs["decoder"]
        return name, "django.db.models.JSONField", args, kwargs


class _Decoder(json.JSONDecoder):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, parse_int=_number)


def _number(text: str) -> int | float:
    number = int(text)
    return number if number in _INT64 else float(text)
