"""Scoring rules and the ledger whose sum is a contact's score."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models

from config import clock, ids
from workspaces.tenancy import TenantModel


class ScoringRule(TenantModel):
    """An event name, a condition on the event, and the points that a match gives."""

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
