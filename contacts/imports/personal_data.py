"""Personal data of uploads: what is erased of files that were imported, and of rows that were refused."""

import re

from config.db.statements import execute
from contacts.erasure.erasures import DataSubject, PersonalDataSource, Removed
from contacts.imports.uploads import delete_uploads_over
from contacts.models import Identifier

_FEWEST_DIGITS = 6


def _erase_first(person: DataSubject) -> Removed:
    """Delete uploads that are over, whoever is in them, and refused rows that mention the person."""
    if person.since is not None:
        # Of what is under way, files go when they are done, and rows that name the erased are not kept.
        return {}
    texts = [*map(str, person.contact_ids), *(f'"{value}"' for _, value in person.identifiers), *person.words]
    digits = [re.sub(r"\D", "", phone) for phone in person.addresses(Identifier.PHONE)]
    parameters = [person.workspace_id, texts, [number for number in digits if len(number) >= _FEWEST_DIGITS]]
    return {"uploads": delete_uploads_over(person.workspace_id), "refusedRows": execute(_ROWS, parameters)}


_ROWS = r"""
DELETE FROM contacts_refusedrow WHERE workspace_id = %s AND (
    EXISTS (
        SELECT FROM unnest(%s::text[]) AS mentioned (text)
        WHERE position(lower(mentioned.text) IN lower(content)) > 0
    ) OR EXISTS (
        SELECT FROM unnest(%s::text[]) AS phone (digits)
        WHERE position(phone.digits IN regexp_replace(content, '\D', '', 'g')) > 0
    )
)
"""

PERSONAL_DATA = PersonalDataSource({}, erase_first=_erase_first)
