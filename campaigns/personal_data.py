"""Personal data of campaigns, for exports and erasures."""

from typing import Any

from campaigns.models import (
    Broadcast,
    Decision,
    Enrollment,
    FormSubmission,
    Message,
    PendingConsent,
    RehearsedEnrollment,
    SentEmail,
    Suppression,
)
from config.db.statements import execute
from contacts.erasure.erasures import DataSubject, ExportedRows, PersonalDataSource, Removed


def _hold(person: DataSubject) -> None:
    """Lock open enrollments, after the steps under way: these lock the enrollment before the contact."""
    enrollments = (
        Enrollment.objects.in_workspace(person.workspace_id).open().filter(contact_id__in=person.contact_ids)
    )
    list(enrollments.order_by("id").select_for_update().values_list("id", flat=True))


def _erase_first(person: DataSubject) -> Removed:
    """Erase what refers to the person by an address or in a list."""
    suppressed, _ = _suppressions(person).delete()
    return {
        "suppressions": suppressed,
        "sentEmails": _purge_inbox(person),
        "broadcasts": _remove_from_broadcasts(person),
    }


def _remove_from_broadcasts(person: DataSubject) -> int:
    """Remove the person from broadcasts' lists of contacts. Returns the number of broadcasts."""
    ids = list(person.contact_ids)
    return execute(_LISTS, [ids, person.workspace_id, ids])


def _purge_inbox(person: DataSubject) -> int:
    """Delete the person's e-mails in the local inbox, found by message or address. Returns how many.

    An e-mail without its message was being sent when its contact was erased: it is deleted, too.
    """
    return execute(
        _INBOX,
        [person.workspace_id, list(person.contact_ids), person.workspace_id, person.addresses("email")],
    )


def _export_more(person: DataSubject) -> dict[str, Any]:
    return {"suppressions": ExportedRows(_suppressions(person))}


def _suppressions(person: DataSubject) -> Any:
    addresses = [value for _, value in person.identifiers]
    return Suppression.objects.in_workspace(person.workspace_id).filter(address__in=addresses)


_LISTS = f"""
UPDATE {Broadcast._meta.db_table} SET contact_ids = ARRAY(
    SELECT listed.id FROM unnest(contact_ids) WITH ORDINALITY AS listed (id, place)
    WHERE NOT listed.id = ANY(%s::uuid[]) ORDER BY listed.place
)
WHERE workspace_id = %s AND contact_ids && %s::uuid[]
"""

_INBOX = f"""
DELETE FROM {SentEmail._meta.db_table} s
WHERE NOT EXISTS (
        SELECT FROM {Message._meta.db_table} m
        WHERE m.workspace_id = %s AND m.id = s.message_id AND NOT m.contact_id = ANY(%s)
    )
    AND s.workspace_id = %s
    AND (s.message_id IS NOT NULL OR EXISTS (
        SELECT FROM unnest(%s::text[]) AS own (address)
        WHERE position(own.address IN lower(s.recipients::text)) > 0
    ))
"""

PERSONAL_DATA = PersonalDataSource(
    # Enrollments first: no step can create a message afterwards.
    {
        "runs": Enrollment,
        "decisions": Decision,
        "messages": Message,
        "formSubmissions": FormSubmission,
        "pendingConsents": PendingConsent,
        "rehearsedRuns": RehearsedEnrollment,
    },
    erase_first=_erase_first,
    export_more=_export_more,
    hold=_hold,
)
