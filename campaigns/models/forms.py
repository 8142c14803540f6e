"""Sign-up forms on other sites, their submissions and pending consents."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from config import clock, ids
from config.db.fields import JSONField, UnconstrainedForeignKey
from workspaces.tenancy import TenantModel


class Form(TenantModel):
    """What a page may ask its visitors for; each submission is an event of a contact."""

    class OnKnown(models.TextChoices):
        """What becomes of answers about somebody known: nobody has checked who the visitor is."""

        FILL_IN = "fill_in", "Fill in what is missing"
        CONFIRM = "confirm", "Overwrite once the e-mail is confirmed"

    name = models.CharField(max_length=255)
    # [{"name", "label", "type": text|email|phone|number|checkbox|select, "required", "options"?, "maps_to"?}]
    fields = JSONField(default=list)
    active = models.BooleanField(default=True)
    allowed_origins = JSONField(default=list, blank=True, help_text="none: any page may use it")
    # Channels that a submission opts into; with double opt-in only once the link in the e-mail was followed.
    consents = JSONField(default=list, blank=True)
    double_opt_in = models.BooleanField(default=False)
    confirmation_template = models.ForeignKey(
        "campaigns.Template", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    on_known = models.CharField(max_length=10, choices=OnKnown.choices, default=OnKnown.FILL_IN)
    redirect_url = models.CharField(max_length=2048, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="form_name_unique")
        ]

    def __str__(self) -> str:
        return self.name


class FormSubmission(TenantModel):
    """What somebody sent, and the event that was made of it."""

    form = models.ForeignKey(Form, on_delete=models.CASCADE, related_name="submissions", db_constraint=False)
    contact = UnconstrainedForeignKey("contacts.Contact")
    event_id = models.UUIDField(default=ids.uuid7)
    answers = JSONField(default=dict)
    # When the e-mail was made whose link confirms it; None: another one's does, or nothing is to be confirmed.
    asked_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    # {"firstName"?, "lastName"?, "attributes"?}: what its own confirmation overwrites.
    held = JSONField(default=dict)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "form", "id"], name="submission_by_form"),
            models.Index(fields=["workspace", "id"], name="submission_by_time"),
            models.Index(fields=["workspace", "contact"], name="submission_by_contact"),
        ]

    def __str__(self) -> str:
        return f"{self.form_id}: {self.created_at}"


class PendingConsent(TenantModel):
    """A channel on which who came by a form with double opt-in has not confirmed yet: nothing is sent there."""

    contact = UnconstrainedForeignKey("contacts.Contact")
    channel = models.CharField(max_length=16)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "contact", "channel"], name="pending_consent_once"),
        ]

    def __str__(self) -> str:
        return f"{self.contact_id}: {self.channel}"
