"""ImportKind: what a file is imported as, and how a row of it is prepared and recorded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar
from uuid import UUID

from config.files.mapping import ColumnMapping, Fields
from config.files.rows import Row
from contacts.models import Import
from contacts.signals import Effects

ItemT = TypeVar("ItemT")


class Decision(NamedTuple):
    """What became of a row: whether it is new; the cause where it was refused."""

    is_new: bool
    cause: str = ""


class PreparedRow(NamedTuple, Generic[ItemT]):
    """A row with what is to be recorded of it, or why it is refused, and its key."""

    row: Row
    item: ItemT | None
    cause: str
    key: str


class ImportKind(ABC, Generic[ItemT]):
    """A kind of rows that can be imported."""

    kind: ClassVar[Import.Kind]
    fields: ClassVar[Fields]
    options: Mapping[str, str] = MappingProxyType({})
    """What else was chosen for an import of this kind; the same file with other options is another import."""
    batch_rows: ClassVar[int]
    """Rows of a transaction, usually: more cost less a row, and hold up for longer who wants the same contacts."""
    is_ordered: ClassVar[bool]
    """Whether a row may change what an earlier one said: one process records such rows, one after the other."""

    @classmethod
    def with_options(cls, options: Mapping[str, str]) -> Self:
        """Return the kind with what was chosen for an import (`options`)."""
        return cls()

    @abstractmethod
    def prepare(self, mapping: ColumnMapping, row: Row, key: str) -> ItemT:
        """Return what is recorded of a row. Raises DomainError with the cause. Uses no database."""

    @abstractmethod
    def record(self, workspace_id: UUID, effects: Effects, items: Sequence[ItemT]) -> Sequence[Decision]:
        """Record a batch in the caller's transaction, each item on its own merits."""

    def settle(self, workspace_id: UUID) -> None:
        """Do what follows from many rows at once: called outside a transaction, at the end and now and then."""
