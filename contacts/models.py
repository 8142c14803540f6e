"""Models of contacts: contacts, identifiers, companies, fields, tags, consents, merges, erasures."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q

from config import clock
from config.db.backfill import BackfillRow
from config.db.fields import JSONField, NameField, UnconstrainedForeignKey
from config.values.names import composed
from contacts.search_text import Parts, folded
from workspaces.tenancy import TenantModel, TenantQuerySet


class Company(TenantModel):
    """An organisation that contacts belong to; its name is unique in the workspace whatever its case."""

    name = models.CharField(max_length=255)
    name_key = models.CharField(max_length=255, editable=False)
    website = models.CharField(max_length=2048, blank=True)
    industry = models.CharField(max_length=255, blank=True)
    size = models.CharField(max_length=64, blank=True)
    external_id = models.CharField(max_length=255, blank=True, help_text="of another system; empty: none")
    attributes = JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "companies"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name_key"], name="company_name_unique"),
            models.UniqueConstraint(
                fields=["workspace", "external_id"],
                name="company_external_id_unique",
                condition=~models.Q(external_id=""),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, **kwargs: object) -> None:
        self.name_key = company_name_key(self.name)
        super().save(**kwargs)  # type: ignore[arg-type]  # as above


def company_name_key(name: str) -> str:
    """Return what two spellings of one company's name have in common."""
    return composed(" ".join(name.split()).casefold())[:255]


class ContactQuerySet(TenantQuerySet["Contact"]):
    def canonical(self) -> ContactQuerySet:
        """Leave out contacts that were merged into another."""
        return self.filter(merged_into=None)


class Contact(TenantModel):
    """A person. Identifiers, tags and consents are rows of their own."""

    first_name = models.CharField(max_length=255, blank=True)
    last_name = models.CharField(max_length=255, blank=True)
    attributes = JSONField(default=dict, blank=True)
    merged_into = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="merged",
        editable=False,
        db_index=False,
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects: ClassVar = ContactQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            # With what tells merged ones, so that pages by number skip others in the index alone.
            models.Index(fields=["workspace", "id"], include=["merged_into"], name="contact_sorted_by_id"),
            # As small as merges are rare: the planner takes no other for who was merged into whom.
            models.Index(
                fields=["workspace", "merged_into"],
                condition=Q(merged_into__isnull=False),
                name="contact_merged",
            ),
            models.Index(fields=["workspace", "updated_at", "id"], name="contact_sorted_by_change"),
            models.Index("workspace", folded("first_name"), "id", name="contact_sorted_by_first_name"),
            models.Index("workspace", folded("last_name"), "id", name="contact_sorted_by_last_name"),
            GinIndex(
                Parts("workspace", "first_name"), Parts("workspace", "last_name"), name="contact_by_part"
            ),
            GinIndex(OpClass("attributes", "jsonb_path_ops"), name="contact_by_attributes"),
        ]

    def __str__(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or str(self.id)

    # All of these read what contacts.queries.with_details loads along.

    def related(self, relation: str) -> list[Any]:
        """Return the rows of a relation."""
        loaded: list[Any] | None = vars(self).get(f"loaded_{relation}")
        return list(getattr(self, relation).all()) if loaded is None else loaded

    @property
    def email(self) -> str | None:
        """The primary e-mail address."""
        return self.identifier("email")

    @property
    def phone(self) -> str | None:
        """The primary phone number."""
        return self.identifier("phone")

    @property
    def external_id(self) -> str | None:
        """The primary id in another system."""
        return self.identifier("external_id")

    def identifier(self, kind: str) -> str | None:
        """Return the primary identifier of a kind."""
        return next(
            (
                identifier.value
                for identifier in self.known_identifiers
                if identifier.is_primary and identifier.kind == kind
            ),
            None,
        )

    @property
    def known_identifiers(self) -> list[Identifier]:
        """The identifiers, then those of merged contacts, of which one is primary where its own kind has none."""
        own = self.related("identifiers")
        merged = sorted(
            (identifier for other in self.related("merged") for identifier in other.related("identifiers")),
            key=_by_id,
        )
        kinds = {identifier.kind for identifier in own if identifier.is_primary}
        for identifier in merged:
            identifier.is_primary = identifier.is_primary and identifier.kind not in kinds
            kinds.update({identifier.kind} if identifier.is_primary else ())
        return [*own, *merged]

    @property
    def known_consents(self) -> list[Consent]:
        """The consents, one a channel; of merged contacts, one who opted out speaks for the person."""
        rows = [
            *self.related("consents"),
            *(consent for other in self.related("merged") for consent in other.related("consents")),
        ]
        rows.sort(
            key=lambda consent: (consent.opts_out, consent.opts_out or consent.is_dated, consent.changed_at)
        )
        return sorted(
            {consent.channel: consent for consent in rows}.values(), key=lambda consent: consent.channel
        )

    @property
    def known_tags(self) -> list[Tag]:
        """The tags, those of merged contacts too, in the order they were put on."""
        puts = [
            *self.related("contact_tags"),
            *(has for other in self.related("merged") for has in other.related("contact_tags")),
        ]
        return list({has.tag_id: has.tag for has in sorted(puts, key=_by_id)}.values())

    @property
    def known_companies(self) -> list[Company]:
        """The companies, those of merged contacts too, by their names."""
        memberships = [
            *self.related("company_memberships"),
            *(row for other in self.related("merged") for row in other.related("company_memberships")),
        ]
        companies = {row.company_id: row.company for row in memberships}
        return sorted(companies.values(), key=lambda company: company.name_key)

    @property
    def subscribed(self) -> bool:
        """Whether e-mail may be sent: it may until the contact opts out."""
        return self.consent("email") != Consent.Status.OPTED_OUT

    def consent(self, channel: str) -> str | None:
        """Return the status on a channel, None if the contact never said."""
        return next((consent.status for consent in self.known_consents if consent.channel == channel), None)

    @property
    def tag_names(self) -> list[str]:
        """The tags, in the order they were put on."""
        return [tag.name for tag in self.known_tags]

    @property
    def score_points(self) -> Decimal:
        """The lead score."""
        return next((score.points for score in self.related("scores")), Decimal(0))


def _by_id(row: models.Model) -> UUID:
    return row.pk  # type: ignore[no-any-return]  # every key is a UUID


class Identifier(TenantModel):
    """What a contact is known by: unique in the workspace once normalised, one primary of a kind."""

    EMAIL, PHONE, EXTERNAL_ID, ANONYMOUS_ID = "email", "phone", "external_id", "anonymous_id"

    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="identifiers")
    kind = models.CharField(
        max_length=64, help_text="email, phone, external_id, anonymous_id or the workspace's identity field"
    )
    value = models.CharField(
        max_length=512, help_text="normalised: an e-mail in lower case, a phone in E.164"
    )
    is_primary = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "kind", "value"], name="identifier_unique"),
            models.UniqueConstraint(
                fields=["workspace", "contact", "kind"],
                condition=Q(is_primary=True),
                name="identifier_one_primary",
            ),
        ]
        indexes: ClassVar = [
            GinIndex(Parts("workspace", "value"), name="identifier_by_part"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class CompanyMembership(TenantModel):
    """A contact belongs to a company."""

    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="company_memberships")
    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "contact", "company"], name="company_membership_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contact} at {self.company}"


class Field(TenantModel):
    """A declared, typed attribute of the workspace's contacts."""

    class Type(models.TextChoices):
        TEXT = "text"
        INTEGER = "integer"
        DATE = "date"
        DATETIME = "datetime"
        BOOLEAN = "boolean"

    name = NameField(max_length=64)
    type = models.CharField(max_length=16, choices=Type)
    format = JSONField(
        null=True, blank=True, help_text='such as {"text": "email"} or {"text": "regex", "pattern": "…"}'
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="field_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class Tag(TenantModel):
    """A word that staff and systems put on contacts."""

    name = NameField(max_length=255)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="tag_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class ContactTag(TenantModel):
    """A contact has a tag."""

    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="contact_tags")
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="contact_tags")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "contact", "tag"], name="contact_tag_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace", "tag", "contact"], name="contact_tag_by_tag")]

    def __str__(self) -> str:
        return str(self.tag)


class Consent(TenantModel):
    """Whether a contact may be written to on a channel."""

    class Channel(models.TextChoices):
        EMAIL = "email"
        SMS = "sms"
        PUSH = "push"
        TELEGRAM = "telegram"

    class Status(models.TextChoices):
        OPTED_IN = "opted_in", "opted in"
        OPTED_OUT = "opted_out", "opted out"

    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="consents")
    channel = models.CharField(max_length=16, choices=Channel)
    status = models.CharField(max_length=16, choices=Status)
    changed_at = models.DateTimeField(
        default=clock.now, editable=False, help_text="when the person said so; else when a file did"
    )
    is_dated = models.BooleanField(
        default=True, db_default=True, editable=False, help_text="whether it is known when the person said so"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "contact", "channel"], name="consent_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_status_display()}"

    @property
    def opts_out(self) -> bool:
        """Whether the contact may not be written to."""
        return self.status == self.Status.OPTED_OUT

    def note_change(self) -> None:
        """Date the consent now, for whoever changes its row by hand."""
        self.changed_at, self.is_dated = clock.now(), True


class ContactScore(TenantModel):
    """A contact's lead score: the sum of its ledger, written by the scoring effect only."""

    # No constraint in the database: the effects write this row, and must not lock the contact's.
    contact = UnconstrainedForeignKey(Contact, models.CASCADE, related_name="scores", editable=False)
    points = models.DecimalField(max_digits=30, decimal_places=6, default=0, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "contact"], name="contact_score_unique"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "points", "contact"], name="contact_score_by_points")
        ]

    def __str__(self) -> str:
        return f"{self.points.normalize():f}"


class MergeQuerySet(TenantQuerySet["Merge"]):
    def unfinished(self) -> MergeQuerySet:
        """Merges whose rows are still being reassigned."""
        return self.filter(finished_at=None)


class Merge(TenantModel, BackfillRow):
    """Two contacts are one person: `merged` is answered as `survivor` until the merge is undone.

    Nothing moves: identifiers, events and what was earned stay with the contact they came with, and reads go
    through the survivor. `restores` holds what the survivor's own row took over because it lacked it:
    `first_name`, `last_name`, and `attributes` by key; the undo takes it back. While rows are on their way, by the
    merge or by its undo, `cursor` says whose, and how far that has come; what moves at once is not counted.
    """

    survivor = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="merges_into_it")
    merged = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="merges_of_it")
    restores = JSONField(default=dict, editable=False)
    # The contacts that read as `merged` before, and read as `survivor` since.
    followers = ArrayField(models.UUIDField(), default=list, editable=False)
    by = models.CharField(max_length=255, blank=True)
    merged_at = models.DateTimeField(default=clock.now, editable=False)
    undone_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar = MergeQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "merged"], condition=Q(undone_at=None), name="merge_one_standing"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "survivor"], name="merge_by_survivor"),
            models.Index(fields=["progressed_at"], condition=Q(finished_at=None), name="merge_unfinished"),
        ]

    def __str__(self) -> str:
        return f"{self.merged_id} into {self.survivor_id}"


class ErasedIdentifier(TenantModel):
    """What an erased person was known by, as a keyed hash: it stops the person from being stored again."""

    digest = models.BinaryField(max_length=32)
    erased_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "digest"], name="erased_identifier_once"),
        ]

    def __str__(self) -> str:
        return bytes(self.digest).hex()[:16]


class ErasureQuerySet(TenantQuerySet["Erasure"]):
    def unfinished(self) -> ErasureQuerySet:
        """Those that have rows left to remove."""
        return self.filter(finished_at=None)

    def unsettled(self) -> ErasureQuerySet:
        """Those after which something may still come in that was under way before."""
        return self.filter(settled_at=None).exclude(finished_at=None)


class Erasure(TenantModel, BackfillRow):
    """The receipt of an erasure: what was removed where. Of the person it has the ids that the contacts had.

    While rows are left, `cursor` says by what the person was known, and what is done.
    """

    progress_fields = (*BackfillRow.progress_fields, "removed")

    contact_ids = ArrayField(models.UUIDField(), editable=False)
    removed = JSONField(default=dict, editable=False)
    by = models.CharField(max_length=255, blank=True, editable=False)
    erased_at = models.DateTimeField(default=clock.now, editable=False)
    settled_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar = ErasureQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "erased_at"], name="erasure_by_time"),
            GinIndex(fields=["contact_ids"], name="erasure_by_contact"),
            models.Index(fields=["erased_at"], condition=Q(settled_at=None), name="erasure_unsettled"),
            models.Index(fields=["progressed_at"], condition=Q(finished_at=None), name="erasure_unfinished"),
        ]

    def __str__(self) -> str:
        return f"{sum(self.removed.values())} rows at {self.erased_at:%Y-%m-%d %H:%M:%S}"


class ImportQuerySet(TenantQuerySet["Import"]):
    def unfinished(self) -> ImportQuerySet:
        """Those of commands that go on where they stopped when the same file is imported again."""
        ended = [Import.Status.DONE, Import.Status.CANCELLED]
        return self.filter(origin=Import.Origin.COMMAND).exclude(status__in=ended)

    def open_uploads(self) -> ImportQuerySet:
        """Those of uploaded files that workers are to take, or are at."""
        return self.exclude(origin=Import.Origin.COMMAND).filter(
            status__in=[Import.Status.QUEUED, Import.Status.RUNNING]
        )


class Import(TenantModel):
    """A file of contacts or events on its way in: how far it has come, and what became of its rows.

    `position` is the place after the last row that is decided: bytes of the unpacked text, or rows of Parquet.
    """

    class Kind(models.TextChoices):
        CONTACTS = "contacts"
        EVENTS = "events"

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Origin(models.TextChoices):
        """Who gave the file: a command reads its own, the others uploaded it for the workers."""

        COMMAND = "command"
        API = "api", "API"
        ADMIN = "admin"

    class Effects(models.TextChoices):
        NONE = "none"
        SCORES_AND_SEGMENTS = "scores-and-segments", "scores and segments"
        ALL = "all"

    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=255)
    fingerprint = models.CharField(
        max_length=64, help_text="a hash of the content, or of the name given for it"
    )
    mapping = JSONField(default=dict, blank=True, help_text="fields by columns; empty: by the header")
    options = JSONField(
        default=dict, blank=True, help_text="what was chosen besides, such as what counts of consents"
    )
    effects = models.CharField(max_length=32, choices=Effects, default=Effects.SCORES_AND_SEGMENTS)
    position = models.BigIntegerField(default=0)
    line = models.BigIntegerField(default=1, help_text="the line to go on with")
    size = models.BigIntegerField(
        null=True, blank=True, help_text="of the file, where positions count its bytes"
    )
    recorded = models.BigIntegerField(default=0, help_text="new events, or contacts that were made")
    known = models.BigIntegerField(default=0, help_text="repeated events, or contacts that were there")
    refused = models.BigIntegerField(default=0)
    left_out = models.BigIntegerField(default=0, help_text="rows that the map is not for")
    refused_file = models.TextField(blank=True)
    refused_bytes = models.BigIntegerField(default=0)
    origin = models.CharField(
        max_length=16, choices=Origin, default=Origin.COMMAND, db_default=Origin.COMMAND.value
    )
    upload = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        help_text="the file's name in the storage, until it is deleted",
    )
    form = models.CharField(
        max_length=16, blank=True, db_default="", help_text="of an upload: csv, jsonl or parquet"
    )
    delimiter = models.CharField(max_length=8, blank=True, db_default="", help_text="empty: recognised")
    dry_run = models.BooleanField(
        default=False, db_default=False, help_text="every row is decided, and nothing recorded"
    )
    actor = models.CharField(max_length=255, blank=True, db_default="", help_text="who gave the file")
    status = models.CharField(max_length=16, choices=Status, default=Status.RUNNING)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar = ImportQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "kind", "fingerprint"], name="import_by_fingerprint"),
            models.Index(
                fields=["workspace", "id"],
                condition=models.Q(status="queued") | models.Q(status="running"),
                name="import_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"

    @property
    def is_open(self) -> bool:
        """Whether it is waiting or under way, as far as is known."""
        return self.status in (self.Status.QUEUED, self.Status.RUNNING)

    @property
    def rows(self) -> int:
        """How many rows are decided."""
        return self.recorded + self.known + self.refused + self.left_out

    @property
    def progress(self) -> float | None:
        """Which part of the file is decided, from 0 to 1; None where its size is not known."""
        if self.status == self.Status.DONE:
            return 1.0
        return min(self.position / self.size, 1.0) if self.size else None


class RefusedRow(TenantModel):
    """A row of an uploaded file that was not taken, as a line of the file of refused rows has it."""

    run = models.ForeignKey(Import, models.CASCADE, related_name="refused_rows", db_index=False)
    line = models.BigIntegerField(help_text="where it begins in the file")
    cause = models.TextField()
    content = models.TextField(help_text="a line of JSON; without the row where that names an erased person")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["workspace", "run", "line"], name="refused_row_by_import")]

    def __str__(self) -> str:
        return f"line {self.line:,}: {self.cause}"
