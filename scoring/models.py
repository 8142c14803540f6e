"""Scoring rules and the ledger whose sum is a contact's score."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from config import clock
from config.db.fields import JSONField, NameField, UnconstrainedForeignKey
from scoring.calculation import Award, State, Terms
from workspaces.tenancy import BulkTenantModel, TenantModel, TenantQuerySet

LONGEST_DECAY_DAYS = 36_500


class ScoringRuleQuerySet(TenantQuerySet["ScoringRule"]):
    def rescoring(self) -> ScoringRuleQuerySet:
        """Rules whose re-scoring has begun and not ended."""
        return self.filter(rescore_started_at__isnull=False, rescored_at=None)


RuleManager = models.Manager.from_queryset(ScoringRuleQuerySet)


class ActiveRuleManager(RuleManager["ScoringRule"]):
    """Rules that are not deleted."""

    def get_queryset(self) -> ScoringRuleQuerySet:
        return ScoringRuleQuerySet(self.model, using=self._db).filter(deleted_at=None)


class ScoringRule(TenantModel):
    """A rule: an event name, a condition, and the points of a match.

    A deleted rule remains a row: its points go on to decay, and can be explained.
    """

    class Period(models.TextChoices):
        DAY = "day"
        WEEK = "week"
        MONTH = "month"
        YEAR = "year"
        EVER = "ever"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    active = models.BooleanField(default=True)
    event_name = NameField(max_length=255)
    condition = JSONField(
        null=True,
        blank=True,
        help_text='a rule, such as {"field": "metadata.amount", "operator": "gte", "value": 50}; empty: always',
    )
    points = models.DecimalField(max_digits=15, decimal_places=6)
    decay_points = models.DecimalField(
        max_digits=15, decimal_places=6, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    decay_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_DECAY_DAYS)],
    )
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
    rescore_reevaluates = models.BooleanField(
        default=False,
        editable=False,
        help_text="whether events are evaluated again, not only the ledger added up",
    )
    rescored_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar = ActiveRuleManager()
    with_deleted = ScoringRuleQuerySet.as_manager()

    class Meta:
        base_manager_name = "with_deleted"
        indexes: ClassVar = [
            models.Index(fields=["workspace", "event_name"], name="scoring_rule_by_event"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def terms(self) -> Terms:
        """Decay, bounds and limit."""
        has_decay = bool(self.decay_points) and self.decay_days is not None
        return Terms(
            decay_points=self.decay_points if has_decay else None,
            decay_every=timedelta(days=self.decay_days or 0) if has_decay else None,
            lowest=self.min_score,
            highest=self.max_score,
            limit_count=self.limit_count,
            limit_period=self.limit_period,
        )

    @property
    def limit(self) -> dict[str, Any] | None:
        """Matches that count per period; None: all."""
        if self.limit_count is None:
            return None
        return {"count": self.limit_count, "period": self.limit_period}

    def evaluates_from(self, *, is_repeat: bool) -> datetime | None:
        """Return the first moment of receipt of an event that it evaluates; None: of all events.

        What was received before an edit, but not evaluated by the old rule, is the new one's; not so what went before
        the effects already.
        """
        if self.effective_from is None or is_repeat:
            return self.effective_from
        return min(self.created_at, self.effective_from)

    @property
    def is_rescoring(self) -> bool:
        """Whether some contacts still have entries from before the edit."""
        return self.rescore_started_at is not None and self.rescored_at is None


class ScoreEntry(BulkTenantModel):
    """A ledger entry: the points of one event for one contact under one rule. Unique for event and rule."""

    contact = UnconstrainedForeignKey("contacts.Contact")
    rule = UnconstrainedForeignKey(ScoringRule)
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
            models.Index(fields=["workspace", "occurred_at", "id"], name="score_entry_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.points.normalize():+f}"

    @property
    def award(self) -> Award:
        """The entry as input of the calculation."""
        return Award(self.occurred_at, self.event_id, self.points)


class RuleScore(BulkTenantModel):
    """A contact's value under one rule with limit, bounds or decay, as of its last entry."""

    contact = UnconstrainedForeignKey("contacts.Contact")
    rule = UnconstrainedForeignKey(ScoringRule)
    value = models.DecimalField(max_digits=30, decimal_places=6)
    """Right after the last entry, without what has decayed since."""
    last_at = models.DateTimeField()
    last_event_id = models.UUIDField()
    counted = models.PositiveIntegerField(
        default=0, help_text="entries that count in the last one's period, where the rule has a limit"
    )
    included = models.DecimalField(max_digits=30, decimal_places=6)
    """What of it the contact's score has in it now."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "contact", "rule"], name="rule_score_once"),
        ]

    def __str__(self) -> str:
        return f"{self.included.normalize():f}"

    @property
    def state(self) -> State:
        """The state on which further entries are calculated."""
        return State(self.value, self.last_at, self.last_event_id, self.counted)
