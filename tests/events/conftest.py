import pytest

from contacts.references import ContactReference
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()


@pytest.fixture
def jane():
    """Return a reference that makes its contact where it is missing."""
    return ContactReference(identifiers=(("email", "jane@example.test"),), if_missing="create")
