"""Queries for contact lists, which are static segments."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db.models import F

from config.ids import parse_uuid
from contacts.models import Contact
from segments.models import Membership, Segment


def lock_lists(workspace_id: UUID, list_ids: Sequence[str]) -> tuple[list[Segment], dict[int, list[str]]]:
    """Return the lists that ids name, and by its place what is wrong with an id.

    They stay locked until the commit: a contact is locked after its lists, as where staff fill one.
    """
    ids = [parse_uuid(list_id) for list_id in list_ids]
    rows = Segment.objects.in_workspace(workspace_id).filter(id__in=[each for each in ids if each])
    found = {row.id: row for row in rows.select_for_update(no_key=True).order_by("id")}
    problems: dict[int, list[str]] = {}
    for place, (list_id, text) in enumerate(zip(ids, list_ids, strict=True)):
        if list_id is None or list_id not in found:
            problems[place] = [f'names a contact list that does not exist: "{text}"']
        elif not found[list_id].is_static:
            problems[place] = [f'names a segment, which nobody can be added to: "{text}"']
    return list(found.values()), problems


def list_ids_of(workspace_id: UUID, contacts: Sequence[Contact]) -> Mapping[UUID, list[str]]:
    """Return the ids of the lists that persons are on, by the survivor's id; their merged contacts are prefetched."""
    persons = {row.id: contact.id for contact in contacts for row in (contact, *contact.related("merged"))}
    rows = Membership.objects.in_workspace(workspace_id).filter(
        contact_id__in=persons,
        segment__workspace_id=workspace_id,
        segment__evaluation=Segment.Evaluation.STATIC,
        segment__version=F("version"),
    )
    lists: dict[UUID, list[str]] = defaultdict(list)
    for segment_id, contact_id in rows.order_by("segment_id").values_list("segment_id", "contact_id"):
        listed = lists[persons[contact_id]]
        # Of a person, each of the merged contacts may have been put into it.
        if str(segment_id) not in listed:
            listed.append(str(segment_id))
    return lists
