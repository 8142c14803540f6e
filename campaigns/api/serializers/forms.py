"""Forms and their submissions."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from campaigns.api.choices import (
    upper,
)
from campaigns.models import Form
from contacts.api.serializers import ContactBriefSerializer
from contacts.models import Consent
from workspaces.api.fields import MillisecondsField, StrictCharField
from workspaces.api.strict import (
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
)

_FIELDS = """\
What is asked for: `{"name", "label"?, "type": "text"|"email"|"phone"|"number"|"checkbox"|"select", "required"?,
"options"?, "mapsTo"?}`; `mapsTo` is `email`, `phone`, `firstName`, `lastName` or `attributes.…`, and one required
field maps to `email` or `phone`: it says whose answers they are."""
_FORM_CHANNELS = upper(Consent.Channel)


_ON_KNOWN = [choice.upper() for choice in Form.OnKnown.values]


class FormChangesSerializer(KnownKeysSerializer):
    """What to change of a form."""

    name = StrictCharField(required=False, max_length=255)
    fields = serializers.ListField(  # type: ignore[assignment]  # the format's name for it
        child=ObjectField(), required=False, help_text=_FIELDS
    )
    active = StrictBooleanField(required=False, help_text="else nobody can submit it")
    allowedOrigins = serializers.ListField(
        child=StrictCharField(max_length=2048),
        required=False,
        max_length=1_000,
        help_text="the pages that may use it; none: any",
    )
    consents = serializers.ListField(
        child=serializers.ChoiceField(choices=_FORM_CHANNELS),
        required=False,
        help_text="the channels that a submission opts into",
    )
    doubleOptIn = StrictBooleanField(
        required=False,
        help_text="only once the link in the e-mail was followed (`event.properties.confirmUrl`)",
    )
    confirmationTemplateId = StrictCharField(required=False, allow_null=True, max_length=64)
    redirectUrl = StrictCharField(required=False, allow_blank=True, max_length=2048)
    onKnown = serializers.ChoiceField(
        choices=_ON_KNOWN,
        required=False,
        help_text="of somebody known, answers fill in what is missing, or overwrite once the e-mail is confirmed",
    )


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "A newsletter",
            {
                "name": "Newsletter",
                "fields": [
                    {"name": "email", "type": "email", "label": "E-mail", "required": True},
                    {"name": "firstName", "label": "First name", "mapsTo": "firstName"},
                ],
                "consents": ["EMAIL"],
            },
            request_only=True,
        )
    ]
)
class FormBodySerializer(FormChangesSerializer):
    """A form to create."""

    name = StrictCharField(max_length=255)
    fields = serializers.ListField(child=ObjectField(), help_text=_FIELDS)


class FormCountSerializer(serializers.Serializer[Any]):
    """What a form was sent."""

    submissions = serializers.IntegerField()


class FormSerializer(serializers.Serializer[Any]):
    """A form, and how a page uses it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    fields = serializers.ListField(child=ObjectField())  # type: ignore[assignment]  # as above
    active = serializers.BooleanField()
    allowedOrigins = serializers.ListField(child=serializers.CharField())
    consents = serializers.ListField(child=serializers.ChoiceField(choices=_FORM_CHANNELS))
    doubleOptIn = serializers.BooleanField()
    confirmationTemplateId = serializers.UUIDField(allow_null=True)
    redirectUrl = serializers.CharField(allow_blank=True)
    onKnown = serializers.ChoiceField(choices=_ON_KNOWN)
    submitUrl = serializers.CharField(help_text="where answers are posted to, without a credential")
    createdAt = MillisecondsField()
    updatedAt = MillisecondsField()
    _count = FormCountSerializer()


class SubmissionSerializer(serializers.Serializer[Any]):
    """What somebody sent."""

    id = serializers.UUIDField()
    contact = ContactBriefSerializer()
    eventId = serializers.UUIDField()
    answers = ObjectField()
    confirmedAt = MillisecondsField(allow_null=True)
    createdAt = MillisecondsField()


@extend_schema_serializer(many=False)  # a page is one object
class SubmissionPageSerializer(serializers.Serializer[Any]):
    """A page of submissions."""

    data = SubmissionSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")
