from collections.abc import Iterator

import pytest

from contacts.signals import ContactChange, contacts_changed
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace


@pytest.fixture
def workspace(db: None) -> Workspace:
    return WorkspaceFactory.create()


@pytest.fixture
def announced() -> Iterator[list[list[ContactChange]]]:
    """What each call announced."""
    calls: list[list[ContactChange]] = []

    def note(changes: list[ContactChange], **_: object) -> None:
        calls.append(changes)

    contacts_changed.connect(note, weak=False)
    yield calls
    contacts_changed.disconnect(note)


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave out what upper floors do about changes, so that only the statements of contacts count."""
    monkeypatch.setattr(contacts_changed, "receivers", [])
    contacts_changed.sender_receivers_cache.clear()
    yield
    contacts_changed.sender_receivers_cache.clear()
