"""Forms and their submissions."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from campaigns.api.choices import (
    upper,
)
from campaigns.messaging.public_links import public_url
from campaigns.models import Form, FormSubmission
from contacts.api.serializers import ContactBriefField, ContactsSerializer
from contacts.models import Consent
from workspaces.api.batches import BatchSerializer
from workspaces.api.fields import MillisecondsField, StrictCharField, UpperChoiceField
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
    """Changes of a form; what the body does not name stays."""

    name = StrictCharField(required=False, max_length=255)
    fields = serializers.ListField(  # type: ignore[assignment]  # the format's name for it
        child=ObjectField(), required=False, help_text=_FIELDS
    )
    active = StrictBooleanField(required=False, help_text="false: submissions are refused")
    allowedOrigins = serializers.ListField(
        source="allowed_origins",
        child=StrictCharField(max_length=2048),
        required=False,
        max_length=1_000,
        help_text="origins whose pages may use it; empty: any",
    )
    consents = serializers.ListField(
        child=UpperChoiceField(choices=_FORM_CHANNELS),
        required=False,
        help_text="the channels that a submission opts into",
    )
    doubleOptIn = StrictBooleanField(
        source="double_opt_in",
        required=False,
        help_text="consents count once the link of the e-mail was followed (`event.properties.confirmUrl`)",
    )
    confirmationTemplateId = StrictCharField(
        source="confirmation_template", required=False, allow_null=True, max_length=64
    )
    redirectUrl = StrictCharField(source="redirect_url", required=False, allow_blank=True, max_length=2048)
    onKnown = UpperChoiceField(
        source="on_known",
        choices=_ON_KNOWN,
        required=False,
        help_text="for a known contact: fill in missing fields only, or overwrite once the e-mail is confirmed",
    )

    def validate_confirmationTemplateId(self, value: str | None) -> str:  # noqa: N802  (DRF calls it)
        """Return the template's id, \"\" for null: no template."""
        return value or ""


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
    """Counts of a form."""

    submissions = serializers.IntegerField(source="submission_count")


class FormSerializer(BatchSerializer):
    """A form, and where its answers are posted."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    fields = serializers.ListField(child=ObjectField())  # type: ignore[assignment]  # as above
    active = serializers.BooleanField()
    allowedOrigins = serializers.ListField(source="allowed_origins", child=serializers.CharField())
    consents = serializers.ListField(child=UpperChoiceField(choices=_FORM_CHANNELS))
    doubleOptIn = serializers.BooleanField(source="double_opt_in")
    confirmationTemplateId = serializers.UUIDField(source="confirmation_template_id", allow_null=True)
    redirectUrl = serializers.CharField(source="redirect_url", allow_blank=True)
    onKnown = UpperChoiceField(source="on_known", choices=_ON_KNOWN)
    submitUrl = serializers.CharField(
        source="submit_url", help_text="where answers are posted to, without a credential"
    )
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")
    _count = FormCountSerializer(source="*")

    def load(self, rows: Sequence[Form]) -> None:
        """Add `submission_count` by one statement, and `submit_url`."""
        submissions = FormSubmission.objects.in_workspace(rows[0].workspace_id).filter(
            form_id__in=[form.pk for form in rows]
        )
        counts = dict(submissions.order_by().values_list("form_id").annotate(count=Count("id")))
        for form in rows:
            url = public_url(f"/api/forms/{form.pk}/submit")
            vars(form).update(submission_count=counts.get(form.pk, 0), submit_url=url)


class SubmissionSerializer(ContactsSerializer):
    """A submission of a form."""

    id = serializers.UUIDField()
    contact = ContactBriefField(source="contact_id")
    eventId = serializers.UUIDField(source="event_id")
    answers = ObjectField()
    confirmedAt = MillisecondsField(source="confirmed_at", allow_null=True)
    createdAt = MillisecondsField(source="created_at")
