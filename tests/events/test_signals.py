"""docs/signals.md lists the receivers that are connected, and no others."""

import re
from pathlib import Path

from anymail.signals import tracking
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from config.celery import app
from contacts.signals import contacts_changed, contacts_reassigned, reassigning_contacts

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/signals.md"
OURS = ("campaigns.", "contacts.", "events.", "scoring.", "segments.", "workspaces.")
SIGNALS = (
    contacts_changed,
    reassigning_contacts,
    contacts_reassigned,
    tracking,
    pre_save,
    post_save,
    pre_delete,
    post_delete,
)


def test_the_document_lists_what_is_connected() -> None:
    documented = set(re.findall(r"^\|.*?\|.*?\| `([a-z_.]+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE))
    connected = {
        entry[0][0]
        for signal in SIGNALS
        for entry in signal.receivers
        if isinstance(entry[0][0], str) and entry[0][0].startswith(OURS)
    }
    assert connected == documented


def test_tasks_that_services_wake_are_registered() -> None:
    app.loader.import_default_modules()
    root = DOCUMENT.parents[1]
    sources = [path.read_text() for name in OURS for path in (root / name.rstrip(".")).rglob("*.py")]
    names = {name for source in sources for name in re.findall(r'"([a-z.]+\.tasks\.[a-z_]+)"', source)}
    assert {"events.tasks.apply_effects", "workspaces.tasks.continue_backfill"} < names <= app.tasks.keys()
