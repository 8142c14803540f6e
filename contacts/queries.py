"""Read contacts with all that hangs on them, without a query per contact."""

import json
from typing import Any

from django.db.models import Prefetch, QuerySet

from contacts.models import Contact, ContactTag


def with_details(contacts: QuerySet[Contact]) -> QuerySet[Contact]:
    """Load identifiers, tags, consents and the score along, in four more statements."""
    tags = ContactTag.objects.select_related("tag").order_by("id")
    return contacts.prefetch_related("identifiers", Prefetch("contact_tags", tags), "consents", "scores")


def planned_rows(rows: QuerySet[Any, Any]) -> int:
    """Return how many rows the planner expects."""
    plan: list[dict[str, Any]] = json.loads(rows.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])
