"""Segments: rules over contacts, who is in them, and who was when."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from config import clock, ids
from config.db.fields import JSONField, UnconstrainedForeignKey
from workspaces.tenancy import BulkTenantModel, TenantModel, TenantQuerySet


class SegmentQuerySet(TenantQuerySet["Segment"]):
    def dynamic(self) -> SegmentQuerySet:
        return self.filter(evaluation=Segment.Evaluation.DYNAMIC)


class Segment(TenantModel):
    """A set of contacts: those for whom a rule holds now, or a list filled by hand (static).

    An edited rule is a draft until every contact was evaluated by it; meanwhile the old rule serves. Memberships
    belong to a version of the rule, so promoting a draft is one update.
    """

    class Evaluation(models.TextChoices):
        DYNAMIC = "DYNAMIC", "dynamic"
        STATIC = "STATIC", "static"

    class Build(models.TextChoices):
        NONE = "none"
        RUNNING = "running"
        DONE = "done", "done, to be published"
        FAILED = "failed"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    evaluation = models.CharField(max_length=8, choices=Evaluation, default=Evaluation.DYNAMIC)
    # What serves.
    rule = JSONField(null=True, blank=True)
    version = models.UUIDField(default=ids.uuid7, editable=False)
    # What is being built.
    draft_rule = JSONField(null=True, blank=True, editable=False)
    draft_version = models.UUIDField(null=True, editable=False)
    build = models.CharField(max_length=8, choices=Build, default=Build.NONE, editable=False)
    build_publishes = models.BooleanField(default=True, editable=False)
    build_started_at = models.DateTimeField(null=True, editable=False)
    # Work is done lane by lane; a bit for each that is done.
    build_lanes_done = models.PositiveIntegerField(default=0, editable=False)
    build_evaluated = models.BigIntegerField(default=0, editable=False)
    build_total = models.BigIntegerField(default=0, editable=False)
    starts_campaigns = models.BooleanField(
        default=False, help_text="whether a build's entries and exits may start campaigns"
    )
    published_at = models.DateTimeField(null=True, editable=False)
    # Since the promotion: who it let in and removed is being published, lane by lane too.
    publishing_since = models.DateTimeField(null=True, editable=False)
    published_lanes = models.PositiveIntegerField(default=0, editable=False)
    parked_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects: ClassVar = SegmentQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="segment_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_static(self) -> bool:
        """Whether it is filled by hand, not by a rule."""
        return self.evaluation == self.Evaluation.STATIC

    @property
    def has_draft(self) -> bool:
        """Whether another rule is being built or waits to be published."""
        return self.draft_version is not None

    @property
    def latest_rule(self) -> Any:
        """What is to serve, else what does; None: nothing, as where it is static."""
        return self.rule if self.draft_rule is None else self.draft_rule


class MembershipQuerySet(TenantQuerySet["Membership"]):
    def with_entry(self) -> models.QuerySet[Any]:
        """Annotate `entered_at`: when the entry was published, whatever version of the rule made the row since.

        Before publication it is the row's own moment.
        """
        period = MembershipPeriod.objects.in_workspace(OuterRef("workspace_id")).filter(
            segment_id=OuterRef("segment_id"), contact_id=OuterRef("contact_id"), left_at=None
        )
        return self.annotate(entered_at=Coalesce(Subquery(period.values("entered_at")), "since"))


class Membership(BulkTenantModel):
    """A contact is in a segment, by one version of its rule."""

    segment = UnconstrainedForeignKey(Segment)
    version = models.UUIDField()
    contact = UnconstrainedForeignKey("contacts.Contact")
    since = models.DateTimeField()

    objects: ClassVar = MembershipQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "version", "contact"], name="membership_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "contact"], name="membership_by_contact"),
        ]

    def __str__(self) -> str:
        return f"since {self.since:%Y-%m-%d %H:%M:%S}"


class MembershipPeriod(BulkTenantModel):
    """A published period in which a contact was in a segment."""

    segment = UnconstrainedForeignKey(Segment)
    contact = UnconstrainedForeignKey("contacts.Contact")
    entered_at = models.DateTimeField()
    left_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "segment", "contact"],
                condition=Q(left_at=None),
                name="membership_period_one_open",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["workspace", "segment", "contact", "entered_at"], name="membership_period_by_segment"
            ),
            models.Index(fields=["workspace", "contact", "entered_at"], name="membership_period_by_contact"),
            models.Index(fields=["workspace", "entered_at", "id"], name="membership_period_by_time"),
        ]

    def __str__(self) -> str:
        until = f" until {self.left_at:%Y-%m-%d %H:%M:%S}" if self.left_at else ""
        return f"from {self.entered_at:%Y-%m-%d %H:%M:%S}{until}"
