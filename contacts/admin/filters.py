"""Filters of the list of contacts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import (
    Exists,
    OuterRef,
    Q,
    QuerySet,
)
from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    DropdownFilter,
    RangeNumericListFilter,
)

from contacts.models import (
    Consent,
    Contact,
    ContactScore,
)
from workspaces.staff.workspace_choice import chosen_workspace

# Of a score, before the point.
_SCORE_DIGITS = 24


class MergedFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by whether a contact was merged into another."""

    title = "merged"
    parameter_name = "merged"
    all_option = ("", "Not merged")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Merged into another")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> QuerySet[Contact]:
        return queryset.filter(merged_into__isnull=self.value() != "yes")


class ConsentFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by consent on a channel: opted in, opted out, never asked."""

    title = "consent"
    parameter_name = "consent"
    _NEVER = "never"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        statuses = [*Consent.Status.choices, (self._NEVER, "no consent known")]
        return [
            (f"{channel}:{status}", f"{channel}: {words}")
            for channel in Consent.Channel.values
            for status, words in statuses
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> QuerySet[Contact]:
        if self.value() not in {value for value, _ in self.lookup_choices}:
            return queryset
        channel, _, status = self.value().partition(":")
        own = Consent.objects.in_workspace(chosen_workspace(request)).filter(
            contact_id=OuterRef("pk"), channel=channel
        )
        return queryset.filter(~Exists(own) if status == self._NEVER else Exists(own.filter(status=status)))


class ScoreFilter(RangeNumericListFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by score between two values, both included; without a score it is 0."""

    title = "score"
    parameter_name = "score"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> QuerySet[Contact]:
        lowest, highest = (
            number_of(self.used_parameters.get(f"{self.parameter_name}_{end}")) for end in ("from", "to")
        )
        if lowest is None and highest is None:
            return queryset
        scores = ContactScore.objects.in_workspace(chosen_workspace(request))
        below = Q(points__lt=lowest) if lowest is not None else Q()
        above = Q(points__gt=highest) if highest is not None else Q()
        outside = scores.filter(below | above)
        if (lowest is None or lowest <= 0) and (highest is None or highest >= 0):
            return queryset.exclude(pk__in=outside.values("contact_id"))
        inside = scores.exclude(below | above)
        return queryset.filter(pk__in=inside.values("contact_id"))


def number_of(text: Any) -> Decimal | None:
    """Return what a filter holds as a number that a score can be compared with, None if it is none."""
    try:
        number = Decimal(text)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if number.is_finite() and number.adjusted() < _SCORE_DIGITS else None
