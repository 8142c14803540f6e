"""RefusedRows: what was not taken of an upload, kept in the database as a file of refused rows has it."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from contacts.errors import RefusedRowsElsewhere, RefusedRowsPurged
from contacts.identifiers import BUILT_IN_KINDS, Identification, normalize_identifier
from contacts.mentions import identifications, texts_of
from contacts.models import ErasedIdentifier, Import, RefusedRow
from contacts.tombstones import erased_among
from workspaces.models import Workspace

MOST_KEPT: Final = 100_000
"""Refused rows of an import that are kept; further ones are counted."""
_CHUNK: Final = 200
_BETWEEN_CELLS: Final = re.compile(r"""[,;\t|"{}\[\]\r\n]+|\\x00""")
_ERASED: Final = "The row names somebody who was erased"


class RefusedRows:
    """The refused rows of an upload; `length` is how many bytes of them are kept."""

    def __init__(self, run: Import) -> None:
        self._run = run
        self.length = run.refused_bytes

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Keep rows in the caller's transaction. Returns the new length, for `length` once that is committed.

        Of a row that names somebody who was erased only the place is kept.
        """
        kept = _without_erased(self._run.workspace_id, rows[: max(MOST_KEPT - self._run.refused, 0)])
        lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str) for row in kept]
        RefusedRow.objects.bulk_create(
            (
                RefusedRow(
                    workspace_id=self._run.workspace_id,
                    run=self._run,
                    line=row["line"],
                    cause=row["cause"],
                    content=line.decode(),
                )
                for row, line in zip(kept, lines, strict=True)
            ),
            batch_size=_CHUNK,
        )
        return self.length + sum(map(len, lines))


def _without_erased(workspace_id: UUID, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows, blank where any value is an identifier of somebody who was erased."""
    if not rows or not ErasedIdentifier.objects.in_workspace(workspace_id).exists():
        return list(rows)
    own = Workspace.objects.filter(id=workspace_id).values_list("identity_field", flat=True)
    kinds = {*BUILT_IN_KINDS, *own}
    named = [{*_identifiers_in(row, kinds), *_identifiers_within(row.get("text"), kinds)} for row in rows]
    erased = erased_among(workspace_id, set().union(*named))
    return [
        row if erased.isdisjoint(identifiers) else {"line": row["line"], "cause": _ERASED}
        for row, identifiers in zip(rows, named, strict=True)
    ]


def _identifiers_in(value: Any, kinds: Collection[str]) -> Iterator[Identification]:
    """Yield what the values of a row can be as identifiers, whatever column they are in."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _identifiers_in(item, kinds)
        return
    for kind in kinds:
        if (spelled := normalize_identifier(kind, value)) is not None:
            yield kind, spelled


def _identifiers_within(text: Any, kinds: Collection[str]) -> Iterator[Identification]:
    """Yield what the cells of a line that could not be read, and the words in them, may be as identifiers."""
    for cell in _BETWEEN_CELLS.split(text) if isinstance(text, str) else ():
        for word in texts_of(cell):
            yield from identifications(word, kinds)


def names_erased(run: Import) -> bool:
    """Tell whether a refused row of an upload names somebody who was erased."""
    rows = RefusedRow.objects.in_workspace(run.workspace_id).filter(run=run, cause=_ERASED)
    return bool(rows.exists())


def refused_lines(run: Import) -> Iterable[bytes]:
    """Yield the lines of an upload's refused rows, in their order.

    Raises RefusedRowsElsewhere where a command has them in a file, RefusedRowsPurged where they are deleted.
    """
    if run.origin == Import.Origin.COMMAND:
        raise RefusedRowsElsewhere
    if run.refused and not run.refused_bytes:
        raise RefusedRowsPurged
    rows = RefusedRow.objects.in_workspace(run.workspace_id).filter(run=run).order_by("line")
    return (content.encode() for content in rows.values_list("content", flat=True).iterator(_CHUNK))


def write_refused(run: Import, write: Callable[[bytes], object]) -> None:
    """Hand the refused rows of an upload to `write`, line by line. Raises as `refused_lines`."""
    for line in refused_lines(run):
        write(line)
