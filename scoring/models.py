"""Scoring rules and the ledger whose sum is a contact's score."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models

from config import clock, ids
from workspaces.tenancy import TenantModel


class ScoringRule(TenantModel):
    """An event name, a condition, and the points that a match gives."""

    class Period(models.TextChoices):
        DAY = "day"
        WEEK = "week"
        MONTH = "month"
        YEAR = "year"
        EVER = "ever"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    active = models.BooleanField(default=True)
    event_name = models.CharField(max_length=255)
    condition = models.JSONField(
        null=True,
        blank=True,
        help_text='such as {"field": "metadata.amount", "operator": "gte", "value": 50}; empty: always',
    )
    points = models.DecimalField(max_digits=15, decimal_places=6)
    decay_points = models.DecimalField(
        max_digits=15, decimal_places=6, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    decay_days = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    max_score = models.DecimalField(max_digits=15, decimal_places=6, null=True, blank=True)
    min_score = models.DecimalField(max_digits=15, decimal_places=6, null=True, blank=True)
    limit_count = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="how many matches count in a period; empty: every one",
    )
    limit_period = models.CharField(
        max_length=8, choices=Period, default=Period.EVER, help_text="calendar periods in UTC"
    )
    effective_from = models.DateTimeField(
        default=clock.now,
        null=True,
        blank=True,
        editable=False,
        help_text="events received before it keep what they earned; empty: the rule holds for all history",
    )
    rescore_started_at = models.DateTimeField(null=True, editable=False)
    # Work is done lane by lane; a bit for each that is done.
    rescore_lanes_done = models.PositiveIntegerField(default=0, editable=False)
    rescored_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "event_name"], name="scoring_rule_by_event"),
        ]

    def __str__(self) -> str:
        return self.name


class ScoreEntry(models.Model):
    """A line of the ledger: what one event earned a contact under one rule. At most one of each."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    workspace = models.ForeignKey(
        "workspaces.Workspace",
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    contact = models.ForeignKey(
        "contacts.Contact",
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    rule = models.ForeignKey(
        ScoringRule, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    event_id = models.UUIDField()
    points = models.DecimalField(max_digits=15, decimal_places=6)
    occurred_at = models.DateTimeField()
    is_superseded = models.BooleanField(
        db_default=False, help_text="whether earlier matches of its period fill the rule's limit"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "score entries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "event_id", "rule"], name="score_entry_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "contact", "occurred_at"], name="score_entry_by_contact"),
        ]

    def __str__(self) -> str:
        return f"{self.points.normalize():+f}"


class RuleScore(models.Model):
    """What a rule that decays or is bounded gives a contact: the fold of its entries so far."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    workspace = models.ForeignKey(
        "workspaces.Workspace",
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    contact = models.ForeignKey(
        "contacts.Contact",
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    rule = models.ForeignKey(
        ScoringRule, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    folded = models.DecimalField(max_digits=30, decimal_places=6)
    """The value right after the last entry; what has decayed since follows from the time."""
    last_at = models.DateTimeField()
    last_event_id = models.UUIDField()
    included = models.DecimalField(max_digits=30, decimal_places=6)
    """What of it the contact's score has in it now."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "contact", "rule"], name="rule_score_once"),
        ]

    def __str__(self) -> str:
        return f"{self.included.normalize():f}"
