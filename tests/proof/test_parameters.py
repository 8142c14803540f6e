"""No list of the native API is another than the one that was asked for: what it does not know is refused."""

from uuid import uuid4

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

pytestmark = pytest.mark.django_db


def _reads():
    """Return the native operations that read: path and the parameters that the document has for it."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    return {
        path: {one["name"] for one in methods["get"].get("parameters", ()) if one["in"] == "query"}
        for path, methods in document["paths"].items()
        if path.startswith("/api/workspaces/{workspace_id}/") and "get" in methods
    }


@pytest.fixture(scope="module")
def reads():
    return _reads()


@pytest.fixture
def ask(db):
    workspace = WorkspaceFactory()
    headers = bearer(a_key(workspace).secret)
    client = Client()

    def get(path, **parameters):
        filled = path.replace("{workspace_id}", str(workspace.id))
        while "{" in filled:
            filled = f"{filled[: filled.index('{')]}{uuid4()}{filled[filled.index('}') + 1 :]}"
        return client.get(filled, parameters, **headers)

    return get


def test_every_read_refuses_a_parameter_that_the_document_does_not_have(reads, ask):
    assert len(reads) > 30
    for path in reads:
        answer = ask(path, unheardOf="x", limit0="1")
        assert answer.status_code == 400, path
        assert answer.json() == {
            "error": "Validation failed",
            "details": {
                "limit0": ["This parameter is not known."],
                "unheardOf": ["This parameter is not known."],
            },
        }


def test_every_read_takes_the_parameters_that_the_document_has(reads, ask):
    for path, names in reads.items():
        for name in names:
            details = ask(path, **{name: ""}).json()
            unknown = details.get("details", {}) if isinstance(details, dict) else {}
            assert unknown.get(name) != ["This parameter is not known."], (path, name)


def test_a_key_in_the_address_is_no_unknown_parameter(reads):
    workspace = WorkspaceFactory()
    answer = Client().get(f"/api/workspaces/{workspace.id}/contacts", {"key": a_key(workspace).secret})
    assert answer.status_code == 200
