"""Models of the event stream: definitions, events, the outbox, timers, aggregates, parked effects."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from config import clock
from config.db.fields import JSONField, NameField, UnconstrainedForeignKey
from config.db.lookups import any_of
from contacts.signals import Effects
from workspaces.tenancy import BulkTenantModel, TenantModel, TenantQuerySet


class EventDefinitionQuerySet(TenantQuerySet["EventDefinition"]):
    def active(self) -> EventDefinitionQuerySet:
        return self.filter(deleted_at=None)

    def declared(self) -> EventDefinitionQuerySet:
        """Only what somebody declared, as against what was merely observed or learned."""
        return self.filter(is_declared=True)


class EventDefinition(TenantModel):
    """A name of events and the properties that they carry; deleted softly, for its events stay."""

    name = NameField(max_length=255)
    description = models.TextField(blank=True)
    is_declared = models.BooleanField(
        default=True, help_text="declared by a person, not merely seen in the stream"
    )
    late_after_hours = models.PositiveIntegerField(
        default=72, help_text="an event older than this on arrival starts no campaign"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar = EventDefinitionQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "name"],
                condition=Q(deleted_at=None),
                name="event_definition_name_unique",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class EventProperty(TenantModel):
    """A property of a definition and its type."""

    class Type(models.TextChoices):
        BOOLEAN = "boolean"
        INTEGER = "integer"
        NUMBER = "number"
        STRING = "string"
        DATE = "date"
        DATETIME = "datetime"
        EMAIL = "email"
        URL = "url"

    definition = models.ForeignKey(EventDefinition, on_delete=models.CASCADE, related_name="properties")
    name = NameField(max_length=128)
    type = models.CharField(max_length=16, choices=Type)
    description = models.TextField(blank=True)
    suggested_values = ArrayField(models.CharField(max_length=2048), default=list, blank=True)
    is_declared = models.BooleanField(default=True)
    is_locked = models.BooleanField(
        default=True,
        help_text="whether values of another type are refused; a type merely observed locks nothing",
    )
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name_plural = "event properties"
        ordering: ClassVar = ["position", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "definition", "name"], name="event_property_name_unique"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class EffectsLevel(models.IntegerChoices):
    """Which effects an event may trigger; inherited by every event that it causes."""

    NONE = 0, "none"
    SCORES_AND_SEGMENTS = 1, "scores and segments"
    ALL = 2, "all"

    @classmethod
    def named(cls, effects: Effects) -> EffectsLevel:
        """Return the level that an import calls so."""
        return {"none": cls.NONE, "scores-and-segments": cls.SCORES_AND_SEGMENTS, "all": cls.ALL}[effects]


class EventQuerySet(TenantQuerySet["Event"]):
    def by_ids(self, workspace_id: UUID, event_ids: Collection[UUID]) -> EventQuerySet:
        """Select a workspace's events by id; the bounds leave other months' partitions untouched."""
        if not event_ids:
            return self.none()
        return self.in_workspace(workspace_id).filter(
            any_of("id", event_ids), id__gte=min(event_ids), id__lte=max(event_ids)
        )


class Event(BulkTenantModel):
    """Something that happened. The table is partitioned by month on `id`, whose time is `occurred_at`: see `bounds`.

    The database's primary key is (workspace_id, id); there are no foreign keys, for the table is big.
    """

    class Source(models.TextChoices):
        API = "api", "API"
        ADMIN = "admin"
        IMPORT = "import"
        SYSTEM = "system"

    contact = UnconstrainedForeignKey("contacts.Contact", null=True, blank=True)
    company_id = models.UUIDField(null=True, blank=True)
    name = NameField(max_length=255)
    properties = JSONField(default=dict, blank=True)
    context = JSONField(
        default=dict, blank=True, help_text="page, session, campaign tags: what came beside the properties"
    )
    occurred_at = models.DateTimeField(default=clock.now)
    received_at = models.DateTimeField(default=clock.now, editable=False)
    source = models.CharField(max_length=8, choices=Source, default=Source.API)
    message_id = models.CharField(max_length=255, blank=True, help_text="the sender's own key")
    cause_id = models.UUIDField(null=True, blank=True, editable=False)
    depth = models.PositiveSmallIntegerField(default=0, editable=False)
    is_ahead = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="whether its sender's clock was ahead: its id has the time as it was sent",
    )

    objects: ClassVar = EventQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "contact", "id"], name="event_by_contact"),
            models.Index(fields=["workspace", "name", "id"], name="event_by_name"),
            # What followed from an event; most follow from none, and cost it nothing.
            models.Index(
                fields=["workspace", "cause_id"],
                condition=Q(cause_id__isnull=False),
                name="event_by_cause",
            ),
            # The others are in the order of their time by their ids; what is here costs them nothing.
            *(
                models.Index(
                    fields=["workspace", *fields, "occurred_at", "id"],
                    condition=Q(is_ahead=True),
                    name=name,
                )
                for fields, name in [
                    ([], "event_ahead"),
                    (["contact"], "event_ahead_by_contact"),
                    (["name"], "event_ahead_by_name"),
                ]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} at {self.occurred_at:%Y-%m-%d %H:%M:%S}"


class EventBatch(BulkTenantModel):
    """Events of one lane whose effects are still to be applied: the outbox. Its row is the truth."""

    lane = models.PositiveSmallIntegerField()
    event_ids = ArrayField(models.UUIDField())
    level = models.PositiveSmallIntegerField(choices=EffectsLevel, default=EffectsLevel.ALL)
    is_repeat = models.BooleanField(
        db_default=False, help_text="whether its events went through the effects already, a retry say"
    )
    first_contact_id = models.UUIDField(
        null=True,
        editable=False,
        help_text="its events are of contacts from this one; empty: it was recorded with them, at the time in its id",
    )
    last_contact_id = models.UUIDField(null=True, editable=False, help_text="up to this one")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "event batches"
        indexes: ClassVar = [
            models.Index(fields=["workspace", "lane", "id"], name="event_batch_by_lane"),
            models.Index(
                fields=["workspace", "lane", "first_contact_id"],
                condition=Q(first_contact_id__isnull=False),
                name="event_batch_by_contact",
            ),
        ]

    def __str__(self) -> str:
        return f"lane {self.lane}: {len(self.event_ids)} events"


class RefusedEvent(BulkTenantModel):
    """An event that was refused, kept to be replayed: see `events.replay`.

    `incoming` is an IncomingEvent as JSON, `received_at` when it came first. What not even the parser of its batch
    understood has a `format` instead, the name of an `ItemFormat`, and is an `item` as it was sent, with what the
    batch said of all its items in `shared`.
    """

    name = models.CharField(max_length=255, blank=True)
    incoming = JSONField(default=dict)
    format = models.CharField(
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text="whose parser refused it; empty: it was understood",
    )
    item = JSONField(null=True)
    shared = JSONField(default=dict, db_default={})
    is_public = models.BooleanField(
        default=False,
        db_default=False,
        help_text="came with a page's key, which only fills in what a contact lacks",
    )
    schema_policy = models.CharField(max_length=8)
    source = models.CharField(max_length=8, choices=Event.Source, default=Event.Source.API)
    code = models.CharField(max_length=64, help_text="of the last refusal")
    error = models.CharField(max_length=500, help_text="why it was refused the last time")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="replays that were refused again")
    received_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "id"], name="refused_event_by_time"),
            models.Index(fields=["workspace", "name", "code", "id"], name="refused_event_by_cause"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.error}"


class Timer(BulkTenantModel):
    """When a contact is to be evaluated again because time alone may change the result.

    One row per subject (a segment's version, the score) and contact. It is written only when earlier than what
    stands: a row that comes too early costs a look, one that comes too late would be a wrong answer.
    """

    timer_key = models.UUIDField()
    contact_id = models.UUIDField()
    lane = models.PositiveSmallIntegerField()
    due_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "timers"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "timer_key", "contact_id"], name="timer_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace", "due_at"], name="timer_by_due_at")]

    def __str__(self) -> str:
        return f"{self.timer_key} at {self.due_at:%Y-%m-%d %H:%M:%S}"


class Heartbeat(models.Model):
    """When a worker last handled the heartbeat task of beat; one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    beaten_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.beaten_at:%Y-%m-%d %H:%M:%S}"


class Aggregate(TenantModel):
    """An all-time figure over events of one name that some rule reads; effects maintain each contact's value."""

    key = models.CharField(max_length=64, help_text="a hash of what is measured")
    event_name = models.CharField(max_length=255)
    filters = JSONField(null=True, blank=True, help_text="the events that count; empty: all")
    property = models.CharField(max_length=255, blank=True, help_text="whose values are summed up, if any")
    lanes_built = models.PositiveIntegerField(
        default=0, help_text="a bit for each lane whose contacts have their aggregates"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "key"], name="aggregate_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace", "event_name"], name="aggregate_by_event")]

    def __str__(self) -> str:
        return f"{self.event_name} {self.property}".strip()


class ContactAggregate(BulkTenantModel):
    """A contact's value of an aggregate. A merged contact keeps its own; readers add them up."""

    aggregate_id = models.UUIDField()
    contact_id = models.UUIDField()
    count = models.BigIntegerField(default=0)
    # Of the property's values, the numbers only.
    numbers = models.BigIntegerField(default=0)
    total = models.DecimalField(max_digits=60, decimal_places=20, default=0)
    minimum = models.DecimalField(max_digits=60, decimal_places=20, null=True)
    maximum = models.DecimalField(max_digits=60, decimal_places=20, null=True)
    # Of the events that have the property, where one is measured.
    first_at = models.DateTimeField(null=True)
    first_event_id = models.UUIDField(null=True)
    first_value = JSONField(null=True)
    last_at = models.DateTimeField(null=True)
    last_event_id = models.UUIDField(null=True)
    last_value = JSONField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "contact_id", "aggregate_id"], name="contact_aggregate_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.count} of {self.aggregate_id}"


class RulesVersion(models.Model):
    """One row per workspace: a pass of effects locks it `FOR SHARE`, an edit of rules raises it."""

    workspace = models.OneToOneField(
        "workspaces.Workspace", on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    version = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"version {self.version}"


class Lease(BulkTenantModel):
    """Who has a workspace's work of one kind until a time: a runner, or a wake-up message on its way.

    While it stands nobody sends another message.
    """

    task = models.CharField(max_length=64)
    holder = models.UUIDField(null=True, help_text="the runner; empty: a message is on its way")
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "task"], name="lease_once"),
        ]

    def __str__(self) -> str:
        return f"{self.task} until {self.expires_at:%Y-%m-%d %H:%M:%S}"


class ParkedEffect(TenantModel):
    """An effect that failed on some events, parked with its error so that the rest goes on."""

    effect = models.CharField(max_length=255, help_text="the effect's dotted path")
    subject = models.CharField(max_length=255, help_text="the culprit, such as event:<id> or rule:<id>")
    event_ids = ArrayField(models.UUIDField())
    level = models.PositiveSmallIntegerField(choices=EffectsLevel, default=EffectsLevel.ALL)
    error = models.TextField()
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["workspace", "effect", "subject"], name="parked_by_key")]

    def __str__(self) -> str:
        return f"{self.effect} on {self.subject}"


class MessageKey(TenantModel):
    """The event of a sender's message id that came without a time; with a time, the event's id follows from both."""

    key = models.CharField(max_length=255)
    event_id = models.UUIDField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "key"], name="message_key_unique"),
        ]

    def __str__(self) -> str:
        return self.key


class IdempotencyKey(TenantModel):
    """A request that was answered under a key of its sender, and the answer."""

    key = models.CharField(max_length=255)
    request_hash = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(default=0)
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "key"], name="idempotency_key_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["created_at"], name="idempotency_key_by_age")]

    def __str__(self) -> str:
        return self.key
