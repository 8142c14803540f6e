"""Serializers of rows that load what they need for a whole answer at once."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers


class BatchListSerializer(serializers.ListSerializer[Any]):
    """A list whose serializer loads what its rows need for all of them at once."""

    child: "BatchSerializer"

    def to_representation(self, data: Any) -> list[Any]:
        """Load, then render each row."""
        rows = list(data)
        if rows:
            self.child.load(rows)
        return super().to_representation(rows)


class BatchSerializer(serializers.Serializer[Any]):
    """A row that needs more than its own columns: `load` adds it to the attributes of all rows of an answer."""

    class Meta:
        list_serializer_class = BatchListSerializer

    def load(self, rows: Sequence[Any]) -> None:
        """Add to the attributes of some rows of one workspace, in a fixed number of statements."""
        raise NotImplementedError

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Render a row, which is loaded here unless its list did."""
        if not isinstance(self.parent, BatchListSerializer):
            self.load([instance])
        return super().to_representation(instance)
