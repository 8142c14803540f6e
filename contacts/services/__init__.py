"""Every write to contacts, and who is who."""

from contacts.services.companies import CompanyResolution, link_companies, resolve_company
from contacts.services.contacts import (
    clear_identifier,
    contact_exists_elsewhere,
    create_contact,
    delete_contact,
    find_contact,
    get_contact,
    remove_identifier,
    set_consent,
    subscribe_contact,
    tag_contact,
    unsubscribe_contact,
    untag_contact,
    update_contact,
    upsert_contact,
)
from contacts.services.erasure import (
    being_erased,
    continue_erasures,
    erase_person,
    export_person,
    find_erasure,
    settle_erasures,
    write_export,
)
from contacts.services.erasure_records import Reapplied, erasure_records, reapply_erasures
from contacts.services.fields import create_field, find_field, set_identity_field, update_field
from contacts.services.identifiers import normalize_identifier
from contacts.services.lookup import ids_of
from contacts.services.merging import find_merge, find_part, merge_contacts, merges_of, undo_merge
from contacts.services.references import CompanyReference, ContactChanges, ContactReference, Resolution
from contacts.services.regrouping import continue_merges, finish_merge, under_way
from contacts.services.resolution import ContactResolution, resolve_contacts
from contacts.services.schema import check_attributes, load_schema
from contacts.services.tombstones import erased_among, lift_tombstones

__all__ = [
    "CompanyReference",
    "CompanyResolution",
    "ContactChanges",
    "ContactReference",
    "ContactResolution",
    "Reapplied",
    "Resolution",
    "being_erased",
    "check_attributes",
    "clear_identifier",
    "contact_exists_elsewhere",
    "continue_erasures",
    "continue_merges",
    "create_contact",
    "create_field",
    "delete_contact",
    "erase_person",
    "erased_among",
    "erasure_records",
    "export_person",
    "find_contact",
    "find_erasure",
    "find_field",
    "find_merge",
    "find_part",
    "finish_merge",
    "get_contact",
    "ids_of",
    "lift_tombstones",
    "link_companies",
    "load_schema",
    "merge_contacts",
    "merges_of",
    "normalize_identifier",
    "reapply_erasures",
    "remove_identifier",
    "resolve_company",
    "resolve_contacts",
    "set_consent",
    "set_identity_field",
    "settle_erasures",
    "subscribe_contact",
    "tag_contact",
    "under_way",
    "undo_merge",
    "unsubscribe_contact",
    "untag_contact",
    "update_contact",
    "update_field",
    "upsert_contact",
    "write_export",
]
