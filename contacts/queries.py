"""Queries that load contacts with their related rows, without a query per contact."""

import json
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import BooleanField, Exists, F, Func, OuterRef, Prefetch, Q, QuerySet

from contacts.models import CompanyMembership, Consent, Contact, ContactTag


def with_details(
    contacts: QuerySet[Contact], *, consents: bool = True, companies: bool = False
) -> QuerySet[Contact]:
    """Load identifiers, tags, consents, the score and merged contacts along, in five more statements.

    Three more are for what the merged contacts have, if there are any. Who shows no consents need not load them; who
    shows companies has to.
    """
    memberships = CompanyMembership.objects.select_related("company")
    tags = _loaded("contact_tags", ContactTag.objects.select_related("tag").order_by("id"))
    details = [_loaded("identifiers"), tags, *([_loaded("consents")] if consents else ())]
    details += [_loaded("company_memberships", memberships)] if companies else ()
    merged = _loaded("merged", Contact.objects.order_by("id").prefetch_related(*details))
    return contacts.prefetch_related(*details, _loaded("scores"), merged)


def _loaded(relation: str, rows: QuerySet[Any] | None = None) -> "Prefetch[Any]":
    """Load related rows as a list (see `Contact.related`): a manager and its queryset a row is most of the time."""
    return Prefetch(relation, rows, to_attr=f"loaded_{relation}")


def with_consent(
    contacts: QuerySet[Contact], workspace_id: UUID, channel: str, status: str | None
) -> QuerySet[Contact]:
    """Leave the contacts whose consent on a channel it is, as `Contact.consent` says; None: who never said."""
    said = Consent.objects.in_workspace(workspace_id).filter(channel=channel)

    def is_said(status: str) -> Q:
        own = said.filter(contact_id=OuterRef("id"), status=status)
        return Q(Exists(own)) | Q(Exists(said.filter(contact__merged_into=OuterRef("id"), status=status)))

    opted_out, opted_in = is_said(Consent.Status.OPTED_OUT), is_said(Consent.Status.OPTED_IN)
    if status == Consent.Status.OPTED_OUT:
        return contacts.filter(opted_out)
    return contacts.filter(~opted_out, opted_in if status else ~opted_in)


class _IsOneOf(Func):
    arg_joiner = " = ANY("
    template = "(%(expressions)s))"
    output_field = BooleanField()


def of_person(workspace_id: UUID, contact_id: UUID) -> Func:
    """Return the condition on a row to be a survivor's, or that of a contact merged into it.

    The ids are looked up first, by themselves: joined, all rows of the workspace might be read.
    """
    ids = Contact.objects.in_workspace(workspace_id).filter(Q(id=contact_id) | Q(merged_into=contact_id))
    return _IsOneOf(F("contact_id"), ArraySubquery(ids.values("id")))


def planned_rows(rows: QuerySet[Any, Any]) -> int:
    """Return how many rows the planner expects."""
    plan: list[dict[str, Any]] = json.loads(rows.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])
