"""An import and an export take as much memory for many rows as for few."""

from datetime import UTC, datetime, timedelta

import psutil
import pytest

from config.files.mapping import ColumnMapping
from config.files.reading import open_file
from config.files.writing import write_rows
from contacts.imports.runner import ImportTerms
from contacts.imports.runs import import_file
from events.imports.events import EventImport
from events.imports.exports import EVENT_COLUMNS, exported_events
from events.imports.fields import EVENT_FIELDS
from tests.scale import scaled
from tests.workspaces.factories import WorkspaceFactory

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ROWS = scaled(20_000, 50_000)
MOST_BYTES = 200_000_000
"""Of the import itself; the process of the tests has its own."""
GROWTH_BYTES = 40_000_000
"""What may come and go: a few batches."""


def test_memory_is_constant(tmp_path):
    workspace = WorkspaceFactory.create()
    path = tmp_path / "many.csv"
    since = datetime(2024, 1, 1, tzinfo=UTC)
    with path.open("w") as file:
        file.write("event,timestamp,email,amount\n")
        for n in range(ROWS):
            # One in ten is refused.
            moment = (since + timedelta(seconds=n)).isoformat() if n % 10 else "01/02/2024"
            file.write(f"purchase,{moment},p{n % 1_000}@x.test,{n}\n")
    before = psutil.Process().memory_info().rss
    taken = []

    def measure(run):
        taken.append(psutil.Process().memory_info().rss)
        return True

    terms = ImportTerms(ColumnMapping(EVENT_FIELDS), batch_rows=500)
    with open_file(str(path)) as file:
        run = import_file(workspace.id, file, EventImport(), terms, on_progress=measure)
    assert (run.recorded, run.refused) == (ROWS - ROWS // 10, ROWS // 10)
    check(taken, before)

    taken.clear()

    def watched():
        for number, row in enumerate(exported_events(workspace.id)):
            if number % 500 == 0:
                taken.append(psutil.Process().memory_info().rss)
            yield row

    assert write_rows(str(tmp_path / "out.jsonl.gz"), "jsonl", EVENT_COLUMNS, watched()) == run.recorded
    check(taken, before)


def check(taken, before):
    """Compare what was taken after a quarter with all that came later."""
    settled = max(taken[: len(taken) // 4])
    assert max(taken) - before < MOST_BYTES
    assert max(taken) - settled < GROWTH_BYTES, taken
