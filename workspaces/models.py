"""Workspaces, users and members, and the credentials of a workspace."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
from django.urls import reverse
from oauth2_provider.models import AbstractApplication

from config import clock
from config.db.backfill import BackfillRow, Batch
from config.db.fields import JSONField
from config.ids import uuid7
from config.values.emails import canonical_email
from workspaces.rates import validate_rate
from workspaces.scopes import ALL_SCOPES, EDIT_SCOPES, READ_SCOPES
from workspaces.tenancy import TenantModel


class User(AbstractUser):  # type: ignore[django-manager-missing]  # the library's application has no types
    """A person who signs in: a member of workspaces, a member of staff, or both."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta(AbstractUser.Meta):
        constraints = [
            # An address signs in like a user name, so it must be unique.
            models.UniqueConstraint(Lower("email"), condition=~models.Q(email=""), name="user_email_unique"),
        ]

    def clean(self) -> None:
        """Normalise the e-mail address."""
        super().clean()
        self.email = canonical_email(self.email) or self.email

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; an inactive user's tokens are revoked for good."""
        super().save(*args, **kwargs)
        if not self.is_active:
            self.token_families.all().delete()


class Workspace(models.Model):  # type: ignore[django-manager-missing]  # as above
    """A tenant; every row of data belongs to one."""

    class Quarantine(models.TextChoices):
        """Which refused events are kept to be replayed."""

        NONE = "none", "None"
        BATCHES = "batches", "Of batches and imports"
        ALL = "all", "All"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200)
    identity_field = models.CharField(
        max_length=100,
        default="email",
        help_text="What names a contact besides its id: email, phone, or a declared text or integer field.",
    )
    allowed_origins = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Sites whose pages may send events from a browser, such as https://shop.example.",
    )
    quarantine = models.CharField(
        max_length=7,
        choices=Quarantine,
        default=Quarantine.BATCHES,
        db_default=Quarantine.BATCHES.value,
        help_text="Which refused events are kept, to be replayed once their schema is mended.",
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do in a workspace."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    EDITOR = "editor", "Editor"
    VIEWER = "viewer", "Viewer"


ROLE_SCOPES: dict[str, frozenset[str]] = {
    Role.OWNER.value: ALL_SCOPES,
    Role.ADMIN.value: ALL_SCOPES,
    Role.EDITOR.value: EDIT_SCOPES,
    Role.VIEWER.value: READ_SCOPES,
}


class Membership(TenantModel):
    """A user's role in a workspace."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="membership_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"


class ApiKey(TenantModel):
    """A bearer key of a workspace; the secret itself is shown once and never stored."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=40, editable=False, help_text="The first characters of the key.")
    last_four = models.CharField(max_length=4, editable=False)
    # The secret has 256 random bits: a slow hash would add nothing but time.
    key_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(models.TextField(), default=list, blank=True)
    rate_limit = models.CharField(
        max_length=40,
        blank=True,
        default="",
        validators=[validate_rate],
        help_text='Empty: none. "vendor": what the wire format documents. Else e.g. "120/minute".',
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.masked})"

    @property
    def masked(self) -> str:
        """Return the key's beginning, for display."""
        return f"{self.prefix}...{self.last_four}"

    def state(self, at: datetime) -> str:
        """Return the key's state at a time: active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "active"


class Application(AbstractApplication):  # type: ignore[misc]  # the library has no types
    """An OAuth client, which acts in one workspace only and with at most its own scopes."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="applications")
    scopes = ArrayField(models.TextField(), default=list, blank=True)
    rate_limit = models.CharField(
        max_length=40,
        blank=True,
        default="",
        validators=[validate_rate],
        help_text='Empty: none. "vendor": what the wire format documents. Else e.g. "120/minute".',
    )

    class Meta(AbstractApplication.Meta):  # type: ignore[misc]  # the library has no types
        verbose_name = "OAuth application"

    def get_absolute_url(self) -> str:
        """Return the admin's page: the library's own pages have no routes here."""
        return reverse("admin:workspaces_application_change", args=[self.pk])


class TokenFamily(models.Model):
    """The JWTs that descend from one sign-in; deleting the row revokes them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="token_families")
    refresh_id = models.CharField(max_length=32, help_text="The `jti` of the one refresh token that is good.")
    expires_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    def __str__(self) -> str:
        return f"until {self.expires_at:%Y-%m-%d %H:%M:%S}"


class Confirmation(models.Model):
    """A question to a member of staff; confirming it deletes the row, so it counts once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    asked = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    def __str__(self) -> str:
        return f"asked at {self.created_at:%Y-%m-%d %H:%M:%S}"


class AuditEntry(TenantModel):
    """A workspace that an entry of Django's admin log concerns."""

    entry = models.ForeignKey(LogEntry, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "entry"], name="audit_entry_unique"),
        ]

    def __str__(self) -> str:
        return str(self.entry)


class BackfillJob(TenantModel, BackfillRow):
    """A job of a workspace that has no row of its own to store its progress in: a command's, say."""

    progress_fields = (*BackfillRow.progress_fields, "counts")

    kind = models.CharField(max_length=100)
    # What tells it from other jobs of the kind: an id, or a hash of a command's options.
    subject = models.CharField(max_length=64)
    part = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="of work that is shared out")
    counts = JSONField(default=dict, editable=False)
    started_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "kind", "subject", "part"], name="backfill_job_unique"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "started_at"], name="backfill_job_by_time"),
            models.Index(
                fields=["kind", "progressed_at"],
                condition=models.Q(finished_at=None),
                name="backfill_job_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.progress:.0%}"

    def record(self, batch: Batch) -> None:
        """Add what a batch did, with its counts."""
        super().record(batch)
        added = {name: self.counts.get(name, 0) + count for name, count in batch.counts.items()}
        self.counts = {**self.counts, **added}
