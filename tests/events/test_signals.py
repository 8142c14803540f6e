"""docs/signals.md lists the receivers that are connected, and no others."""

import re
from pathlib import Path

from anymail.signals import tracking
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from campaigns.signals import campaign_work_due, enrollments_due, message_reserved
from contacts.signals import contacts_changed, contacts_regrouped, regrouping_contacts
from scoring.signals import rescore_wanted
from segments.signals import segment_waits, versions_retired

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/signals.md"
OURS = ("campaigns.", "contacts.", "events.", "scoring.", "segments.", "workspaces.")
SIGNALS = (
    contacts_changed,
    regrouping_contacts,
    contacts_regrouped,
    rescore_wanted,
    segment_waits,
    versions_retired,
    enrollments_due,
    campaign_work_due,
    message_reserved,
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
