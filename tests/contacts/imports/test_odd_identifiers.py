"""Identifiers that are none, in rows of contacts and of events, are refused by themselves."""

import json

import pytest

from tests.contacts.imports.files import refused_rows, run
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
ODD = [
    {"identifiers": [{"kind": "email", "value": ["a@x.test"]}]},
    {"identifiers": [{"kind": "email", "value": {}}]},
    {"identifiers": [{"kind": [], "value": "a"}]},
    {"identifiers": [5]},
    {"identifiers": {"kind": "email"}},
    {"identifiers": 5},
    {"ids": [{"email": "a@x.test"}]},
    {"ids": 5},
]


@pytest.mark.parametrize("kind", ["contacts", "events"])
def test_what_is_no_identifier_is_refused_by_itself(tmp_path, kind):
    path, mapping = tmp_path / "rows.jsonl", tmp_path / "map.yaml"
    rows = [*ODD, {"ids": {"email": "a@x.test"}}]
    path.write_text(
        "".join(json.dumps({"event": "x", "timestamp": "2024-02-01", **row}) + "\n" for row in rows)
    )
    fields = "identifier: ids, identifiers: identifiers"
    mapping.write_text(f"contacts: {{{fields}}}\nevents: {{name: event, timestamp: timestamp, {fields}}}\n")
    status, out, _ = run(f"import_{kind}", path, WorkspaceFactory.create(), map=str(mapping))
    assert (status, out.endswith(f"{len(ODD)} refused"), ", 1 " in out) == (1, True, True)
    assert all("identifier" in row["cause"] for row in refused_rows())
