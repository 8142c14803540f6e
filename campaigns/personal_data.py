"""What campaigns have of a person."""

from typing import Any

from django.db import connection

from campaigns.models import (
    Broadcast,
    Decision,
    Enrollment,
    FormSubmission,
    Message,
    PendingConsent,
    SentEmail,
    Suppression,
)
from contacts.erasure.erasures import DataSubject, ExportedRows, PersonalDataSource, Removed


def _hold(person: DataSubject) -> None:
    """Wait for the steps that are under way: they lock their enrollment first, the contact then."""
    enrollments = (
        Enrollment.objects.in_workspace(person.workspace_id).open().filter(contact_id__in=person.contact_ids)
    )
    list(enrollments.order_by("id").select_for_update().values_list("id", flat=True))


def _erase_first(person: DataSubject) -> Removed:
    """Remove what knows the person by an address."""
    suppressed, _ = _suppressions(person).delete()
    return {
        "suppressions": suppressed,
        "sentEmails": _forget_inbox(person),
        "broadcasts": _take_off_lists(person),
    }


def _take_off_lists(person: DataSubject) -> int:
    """Take the person off the lists of contacts that broadcasts are for."""
    with connection.cursor() as cursor:
        ids = list(person.contact_ids)
        cursor.execute(_LISTS, [ids, person.workspace_id, ids])
        return int(cursor.rowcount)


def _forget_inbox(person: DataSubject) -> int:
    """Delete e-mails in the local inbox that are the person's, by the message or by the address.

    One whose message is gone was under way when somebody was erased.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _INBOX,
            [person.workspace_id, list(person.contact_ids), person.workspace_id, person.addresses("email")],
        )
        return int(cursor.rowcount)


def _export_more(person: DataSubject) -> dict[str, Any]:
    return {"suppressions": ExportedRows(_suppressions(person))}


def _suppressions(person: DataSubject) -> Any:
    addresses = [value for _, value in person.identifiers]
    return Suppression.objects.in_workspace(person.workspace_id).filter(address__in=addresses)


_LISTS = f"""
UPDATE {Broadcast._meta.db_table} SET contact_ids = ARRAY(
    SELECT one.id FROM unnest(contact_ids) WITH ORDINALITY AS one (id, place)
    WHERE NOT one.id = ANY(%s::uuid[]) ORDER BY one.place
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
        SELECT FROM unnest(%s::text[]) AS one (address)
        WHERE position(one.address IN lower(s.recipients::text)) > 0
    ))
"""

PERSONAL_DATA = PersonalDataSource(
    # Runs first: a step that is under way is waited for, and then there is none that could make a message.
    {
        "runs": Enrollment,
        "decisions": Decision,
        "messages": Message,
        "formSubmissions": FormSubmission,
        "pendingConsents": PendingConsent,
    },
    erase_first=_erase_first,
    export_more=_export_more,
    hold=_hold,
)
