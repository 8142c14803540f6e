"""Templates, their previews and tests."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from campaigns.api.choices import (
    CHANNELS,
    MAX_SOURCE,
)
from campaigns.journeys.warnings import template_warnings
from campaigns.models import Template
from workspaces.api.batches import BatchSerializer
from workspaces.api.fields import MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import (
    KnownKeysSerializer,
)

_LIQUID = """Liquid. It knows `contact` (`firstName`, `email`, `attributes.…`, `tags`, `score`), `event` (`type`,
`properties.…`, `timestamp`) where one is the cause, `campaign.name`, `unsubscribeUrl` and `preferencesUrl`. A value
that is missing makes no hole: the message is not sent, and the decision says so; `| default: "…"` fills it.
`money: "EUR"`, `number: 2`, `date: "long"`, `time` and `datetime` write as the contact does, by its `locale` and
`timezone`."""


class TemplateSerializer(KnownKeysSerializer, BatchSerializer):
    """A template of messages, in Liquid."""

    id = serializers.UUIDField(read_only=True)
    name = StrictCharField(max_length=255)
    channel = UpperChoiceField(choices=CHANNELS, default="email", help_text="cannot be changed later")
    subject = StrictCharField(
        required=False, allow_blank=True, max_length=MAX_SOURCE, help_text="Liquid; e-mail only"
    )
    body = StrictCharField(
        max_length=MAX_SOURCE,
        trim_whitespace=False,
        help_text=f"HTML for e-mail and Telegram, JSON for a webhook. {_LIQUID}",
    )
    text = StrictCharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=MAX_SOURCE,
        help_text="Liquid; the text part of an e-mail, blank: made from the body",
    )
    sender = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="e-mail only: who it is from, such as `Acme <news@acme.com>`; a campaign's comes first, blank: the"
        " channel's",
    )
    replyTo = StrictCharField(
        source="reply_to",
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="e-mail only: who gets the answers; blank: the channel's `options.replyTo`, or the sender",
    )
    createdAt = MillisecondsField(source="created_at", read_only=True)
    updatedAt = MillisecondsField(source="updated_at", read_only=True)
    warnings = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="such as that a link to unsubscribe is missing, unless it is sent as transactional only",
    )

    def load(self, rows: Sequence[Template]) -> None:
        """Add `warnings`, one statement for all rows."""
        warnings = template_warnings(rows[0].workspace_id, rows)
        for row in rows:
            vars(row).update(warnings=warnings[row.pk])


class TemplateChangesSerializer(TemplateSerializer):
    """Changes of a template; what the body does not name stays."""

    channel = serializers.CharField(read_only=True)  # type: ignore[assignment]  # a template's stays


class ForContactSerializer(KnownKeysSerializer):
    """The contact, and optionally the event, that a template is rendered with."""

    contactId = StrictCharField(source="contact_id", max_length=64)
    eventId = StrictCharField(
        source="event_id",
        required=False,
        allow_null=True,
        max_length=64,
        help_text="the event that `event` is in Liquid",
    )


class PreviewBodySerializer(ForContactSerializer):
    """A preview of a saved template."""


class TryOutBodySerializer(TemplateSerializer, ForContactSerializer):
    """A preview of a template that is not saved."""

    name = StrictCharField(required=False, allow_blank=True, max_length=255)


class RenderedSerializer(serializers.Serializer[Any]):
    """A rendered message."""

    subject = serializers.CharField()
    body = serializers.CharField()
    text = serializers.CharField()


class TestBodySerializer(ForContactSerializer):
    """A test of a template, to the contact or to another address."""

    to = StrictCharField(
        required=False, allow_null=True, max_length=2048, help_text="the address; null: the contact's"
    )
