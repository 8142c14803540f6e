"""Contacts for staff: contacts with what is known of them, companies, fields and tags, merges, erasures."""

from contacts.admin import companies, contacts, erasures, fields, imports, merges, rows
from contacts.admin.base import (
    ContactRowMixin,
    ContactSearchMixin,
    concerned_contacts,
    find_contact_ids,
    identifier_of,
)

__all__ = [
    "ContactRowMixin",
    "ContactSearchMixin",
    "companies",
    "concerned_contacts",
    "contacts",
    "erasures",
    "fields",
    "find_contact_ids",
    "identifier_of",
    "imports",
    "merges",
    "rows",
]
