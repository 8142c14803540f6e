"""Leadpush's endpoints of e-mails and suppressions."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.errors import SuppressionNotFound, TemplateFault
from campaigns.messaging.liquid import MAX_SOURCE
from campaigns.messaging.queue import EnqueuedMessage, RefusedMessage
from campaigns.messaging.senders import header_error
from campaigns.messaging.suppressions import add_suppression
from campaigns.messaging.templates import check_template
from campaigns.messaging.transactional import EmailRecipient, Outcome, literal, send_emails
from campaigns.models import Message, Suppression, Template
from campaigns.models.messages import Channel
from config.ids import NO_ID, parse_uuid
from config.values.emails import canonical_email, check_mailbox
from dialects.leadpush.base import LeadpushViewSet, document, single, wrapped
from dialects.leadpush.errors import invalid
from dialects.leadpush.filters import SuppressionFilterSet
from dialects.leadpush.pagination import EstimatedPagination
from dialects.leadpush.serializers import MicrosecondsField, TextField
from workspaces.api.strict import ObjectField

MAX_RECIPIENTS: Final = 50
MAX_SUBJECT: Final = 998
MAX_CONTENT: Final = MAX_SOURCE
MAX_HEADERS: Final = 50
_SUPPRESSION = r"suppressions/(?P<suppression>[^/]+)"
_RECIPIENTS = f"must have between 1 and {MAX_RECIPIENTS} items"


# Bodies --------------------------------------------------------------------------------------------------------


class AddressField(TextField):
    """An e-mail address, in the form that is stored."""

    def to_internal_value(self, data: Any) -> str:
        """Return the address. Raises ValidationError."""
        address = canonical_email(super().to_internal_value(data))
        if address is None:
            raise ValidationError("must be a valid email address")
        return address


class MailboxField(TextField):
    """An address with or without a name, such as `Acme <news@acme.com>`."""

    def to_internal_value(self, data: Any) -> str:
        """Return the mailbox as it was typed. Raises ValidationError for what no e-mail can be from."""
        text = super().to_internal_value(data).strip()
        try:
            check_mailbox(text)
        except ValueError as error:
            raise ValidationError("must be a valid email address") from error
        return text


class LengthField(TextField):
    """A text of a length that is allowed."""

    def __init__(self, limit: int, **kwargs: Any) -> None:
        self.limit = limit
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the text. Raises ValidationError."""
        text = super().to_internal_value(data)
        if len(text) > self.limit:
            raise ValidationError(f"must not be greater than {self.limit} characters")
        return text


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class HeadersField(ObjectField):
    """Headers of the sender's own, by name."""

    default_error_messages = {"invalid": "must be an object"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Take PHP's empty array for an empty object."""
        return super().run_validation({} if data == [] else data)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Return the headers. Raises ValidationError with what is wrong with each."""
        headers: dict[str, Any] = super().to_internal_value(data)
        if len(headers) > MAX_HEADERS:
            raise ValidationError(f"must not have more than {MAX_HEADERS} items")
        problems = {
            name: [problem] for name, text in headers.items() if (problem := _header_problem(name, text))
        }
        if problems:
            raise ValidationError(problems)
        return headers


def _header_problem(name: str, text: Any) -> str:
    if not isinstance(text, str):
        return "must be a string"
    if name.lower().startswith("x-leadpush-"):
        return "cannot be set: the header is reserved"
    problem = header_error(name, text)
    return f"cannot be set: {problem[0].lower()}{problem[1:].rstrip('.')}" if problem else ""


@extend_schema_field(OpenApiTypes.ANY)
class BlindCopyField(serializers.Field[Any, Any, Any, Any]):
    """Blind copies: refused, but for none."""

    def to_internal_value(self, data: Any) -> None:
        """Return None for an empty list. Raises ValidationError."""
        if data:
            raise ValidationError(
                "cannot be set: each recipient gets a message of their own, name them in to"
            )


class LeadpushEmailBodySerializer(serializers.Serializer[Any]):
    """A transactional e-mail."""

    subject = LengthField(MAX_SUBJECT)
    html = LengthField(MAX_CONTENT, required=False, allow_null=True)
    text = LengthField(MAX_CONTENT, required=False, allow_null=True)
    to = serializers.ListField(
        child=AddressField(),
        allow_empty=False,
        error_messages={
            "required": "is required",
            "null": "is required",
            "empty": _RECIPIENTS,
            "not_a_list": "must be an array",
        },
    )
    bcc = BlindCopyField(
        required=False, allow_null=True, write_only=True, help_text="Refused, but for an empty one"
    )
    reply_to = MailboxField(required=False, allow_null=True)
    headers = HeadersField(required=False, allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, with the one whose name is a word of Python's."""
        return {"from": MailboxField(), **super().get_fields()}

    def validate_subject(self, value: str) -> str:
        """Refuse a blank subject."""
        if not value.strip():
            raise ValidationError("is required")
        return value

    def validate_to(self, value: list[str]) -> list[str]:
        """Return each address once. Refuses too many."""
        addresses = list(dict.fromkeys(value))
        if len(addresses) > MAX_RECIPIENTS:
            raise ValidationError(_RECIPIENTS)
        return addresses

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require html or text."""
        if not attrs.get("html") and not attrs.get("text"):
            raise ValidationError(
                {
                    "html": ["is required when text is not present"],
                    "text": ["is required when html is not present"],
                }
            )
        return attrs


class LeadpushSuppressionBodySerializer(serializers.Serializer[Any]):
    """An address to suppress."""

    email = AddressField()
    type = serializers.ChoiceField(
        choices=Suppression.Reason.choices,
        required=False,
        allow_null=True,
        error_messages={"invalid_choice": f"must be one of {', '.join(Suppression.Reason.values)}"},
    )


# Answers -------------------------------------------------------------------------------------------------------


class LeadpushEmailMessageSerializer(serializers.Serializer[Any]):
    """The message to one recipient; `status` is `pending`, or why the recipient gets none, such as `suppressed`."""

    uuid = serializers.UUIDField(allow_null=True, help_text="null: there is no message")
    recipient = serializers.CharField()
    type = serializers.ChoiceField(choices=["to"])
    status = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, with the one whose name is a word of Python's."""
        return {**super().get_fields(), "from": serializers.CharField()}


class LeadpushEmailSendSerializer(serializers.Serializer[Any]):
    """Messages in the queue."""

    accepted = serializers.BooleanField()
    message_count = serializers.IntegerField(help_text="how many are queued")
    messages = LeadpushEmailMessageSerializer(many=True)


class LeadpushSuppressionSerializer(serializers.Serializer[Suppression]):
    """A suppressed address."""

    uuid = serializers.CharField(source="id")
    email = serializers.CharField(source="address")
    type = serializers.ChoiceField(source="reason", choices=Suppression.Reason.choices)
    created_at = MicrosecondsField()


_SUPPRESSION_ANSWER = single(LeadpushSuppressionSerializer)


class EmailViewSet(LeadpushViewSet):
    """Transactional e-mails."""

    queryset = Message.objects.none()
    serializer_class = LeadpushEmailSendSerializer
    # Who is unknown becomes a contact.
    scopes = {"POST": "messages:write contacts:write"}

    @document("Send email", {202: wrapped(LeadpushEmailSendSerializer)}, body=LeadpushEmailBodySerializer)
    @action(detail=False, methods=["post"], url_path="emails")
    def send_email(self, request: Request, **kwargs: Any) -> Response:
        """Send each recipient a message, but for those whose address is suppressed."""
        sent = self.validated(LeadpushEmailBodySerializer)
        recipients: list[str] = sent["to"]
        outcomes = send_emails(
            self.workspace.id,
            _template(sent),
            [EmailRecipient(address) for address in recipients],
            headers=sent.get("headers"),
        )
        queued = [outcome for outcome in outcomes if isinstance(outcome, EnqueuedMessage)]
        if not queued:
            raise invalid(
                {
                    f"to.{place}": [f"cannot be written to: {_why(outcome)}"]
                    for place, outcome in enumerate(outcomes)
                }
            )
        answer = {
            "accepted": True,
            "message_count": len(queued),
            "messages": [
                {
                    "uuid": outcome.message.pk if isinstance(outcome, EnqueuedMessage) else None,
                    "recipient": address,
                    "type": "to",
                    "from": sent["from"],
                    "status": _status(outcome),
                }
                for address, outcome in zip(recipients, outcomes, strict=True)
            ],
        }
        # In both generations: the older one's documentation, too, has this answer in `data`.
        return Response({"data": self.get_serializer(answer).data}, status=202)


def _template(sent: Mapping[str, Any]) -> Template:
    """Return the unsaved template of a body, whose texts are sent as they are. Raises a 422."""
    template = Template(
        id=None,
        subject=literal(sent["subject"]),
        body=literal(sent.get("html") or ""),
        text=literal(sent.get("text") or ""),
        sender=sent["from"],
        reply_to=sent.get("reply_to") or "",
    )
    try:
        check_template(template)
    except TemplateFault as error:
        part, _, fault = error.message.partition(": ")
        raise invalid({"html" if part == "body" else part: [f"cannot be sent: {fault}"]}) from error
    return template


def _status(outcome: Outcome) -> str:
    match outcome:
        case EnqueuedMessage():
            return "pending"
        case RefusedMessage(reason=reason):
            return str(reason)
        case error:
            return error.code


def _why(outcome: Outcome) -> str:
    message = outcome.detail.get("message") if isinstance(outcome, RefusedMessage) else None
    return f"{_status(outcome)} ({message})" if message else _status(outcome)


class SuppressionViewSet(LeadpushViewSet):
    """Suppressed e-mail addresses."""

    queryset = Suppression.objects.none()
    serializer_class = LeadpushSuppressionSerializer
    filterset_class = SuppressionFilterSet
    pagination_class = EstimatedPagination
    scope = "messages"

    def get_queryset(self) -> QuerySet[Suppression]:
        """Return the suppressed e-mail addresses, oldest first."""
        rows = Suppression.objects.in_workspace(self.workspace.id)
        return rows.filter(channel=Channel.EMAIL).order_by("id")

    @document("List suppressions", {200: LeadpushSuppressionSerializer(many=True)})
    @action(detail=False, url_path="suppressions")
    def list_suppressions(self, request: Request, **kwargs: Any) -> Response:
        """List suppressed addresses, oldest first."""
        return self.answer_page(self.paginate_queryset(self.filter_queryset(self.get_queryset())) or ())

    @document("Create suppression", {201: _SUPPRESSION_ANSWER}, body=LeadpushSuppressionBodySerializer)
    @list_suppressions.mapping.post
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Suppress an address; 200 if it is suppressed already, with the first type."""
        sent = self.validated(LeadpushSuppressionBodySerializer)
        suppression, is_new = add_suppression(
            self.workspace.id,
            channel=Channel.EMAIL,
            address=sent["email"],
            reason=sent.get("type") or Suppression.Reason.MANUAL,
        )
        return self.answer(suppression, 201 if is_new else 200)

    @document("Get suppression", {200: _SUPPRESSION_ANSWER})
    @action(detail=False, url_path=_SUPPRESSION)
    def retrieve(self, request: Request, suppression: str, **kwargs: Any) -> Response:
        """Return the suppression."""
        row = self.get_queryset().filter(id=parse_uuid(suppression) or NO_ID).first()
        if row is None:
            raise SuppressionNotFound
        return self.answer(row)
