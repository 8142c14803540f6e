"""AutoSend's endpoints of mails: transactional e-mails through the workspace's own channel."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.fields import empty
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.errors import MessageRefused, TemplateFault
from campaigns.messaging.liquid import MAX_SOURCE
from campaigns.messaging.policy import settings_of
from campaigns.messaging.queue import EnqueuedMessage, RefusedMessage
from campaigns.messaging.senders import header_error
from campaigns.messaging.templates import check_template, get_template
from campaigns.messaging.transactional import EmailRecipient, Outcome, send_emails
from campaigns.models import Message, Template
from campaigns.models.messages import Channel
from config import ids
from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from config.values.emails import check_mailbox, mailbox_text
from contacts.models import Identifier
from dialects.autosend.base import AutoSendViewSet, document, enveloped
from dialects.autosend.errors import INVALID_EMAIL, InvalidBody, error_of
from dialects.autosend.mapping import MAX_CONTACTS
from dialects.autosend.serializers import (
    ArrayField,
    AutoSendFailureSerializer,
    BodySerializer,
    IdentifierField,
    TextField,
    UnsupportedField,
)
from workspaces.api.base import object_body
from workspaces.api.strict import ObjectField, StrictBooleanField
from workspaces.scopes import Need

MAX_SUBJECT: Final = 998
MAX_CONTENT: Final = MAX_SOURCE
MAX_HEADERS: Final = 50
_ALONE = "cannot be set: a message goes to one contact. Send another to each"
_PART_OF_BODY = {"subject": "subject", "body": "html", "text": "text"}
_TRACKING = {"trackingClick": "trackClicks", "trackingOpen": "trackOpens"}
_TEMPLATE_NEED = Need("POST", "campaigns:read", "where `templateId` is given")


# Bodies --------------------------------------------------------------------------------------------------------


class MailboxSerializer(BodySerializer):
    """An address, with the name that is shown."""

    email = IdentifierField(
        Identifier.EMAIL, allow_blank=False, error_messages={"invalid_format": INVALID_EMAIL}
    )
    name = TextField(max_length=255, required=False, allow_null=True)


class SenderSerializer(MailboxSerializer):
    """Whom a mail is from, or who gets the answers."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Keep the mailbox as one text. Raises ValidationError for what no e-mail can be from."""
        text = mailbox_text(" ".join((attrs.get("name") or "").split()), attrs["email"].strip())
        try:
            check_mailbox(text)
        except ValueError as error:
            raise ValidationError({"email": [f"cannot be used. {error}"]}) from error
        return {**attrs, "mailbox": text}


class OneRecipientSerializer(MailboxSerializer):
    """The recipient; an array of one will do."""

    def run_validation(self, data: Any = empty) -> Any:
        """Return the recipient. Raises ValidationError for several."""
        if isinstance(data, list):
            if len(data) != 1:
                raise ValidationError("must be one recipient; mails/bulk takes up to 100")
            data = data[0]
        return super().run_validation(data)


class AutoSendMailContentSerializer(BodySerializer):
    """What a mail says: of a template, or with a subject, html and text of its own; both are Liquid."""

    subject = TextField(max_length=MAX_SUBJECT, required=False, allow_null=True)
    html = TextField(max_length=MAX_CONTENT, required=False, allow_null=True)
    text = TextField(max_length=MAX_CONTENT, required=False, allow_null=True)
    templateId = TextField(required=False, allow_null=True)
    dynamicData = ObjectField(
        required=False, allow_null=True, error_messages={"invalid": "must be an object"}
    )
    replyTo = SenderSerializer(required=False, allow_null=True)
    headers = ObjectField(required=False, allow_null=True, error_messages={"invalid": "must be an object"})
    trackingClick = StrictBooleanField(
        required=False, allow_null=True, error_messages={"invalid": "must be true or false"}
    )
    trackingOpen = StrictBooleanField(
        required=False, allow_null=True, error_messages={"invalid": "must be true or false"}
    )
    cc = UnsupportedField(_ALONE)
    bcc = UnsupportedField(_ALONE)
    attachments = UnsupportedField("cannot be sent: messages have no attachments. Link to the file")
    unsubscribeGroupId = UnsupportedField(
        "cannot be chosen: these mails are transactional and ask for no consent, suppressed addresses get none"
    )
    bypassSuppressions = UnsupportedField("cannot be true: a suppressed address gets no mail")
    scheduledAt = UnsupportedField("cannot be set: a mail leaves at once")

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, with the one whose name is a word of Python's."""
        return {"from": SenderSerializer(), **super().get_fields()}

    def validate_headers(self, value: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the headers. Raises ValidationError for what a sender cannot set."""
        headers = value or {}
        if len(headers) > MAX_HEADERS:
            raise ValidationError(f"must have at most {MAX_HEADERS} members")
        problems = {
            name: [f"cannot be set. {problem}"]
            for name, text in headers.items()
            if (problem := header_error(name, text) if isinstance(text, str) else "It must be a string.")
        }
        if problems:
            raise ValidationError(problems)
        return dict(headers)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require a template, or a subject with html or text."""
        contents = [name for name in ("html", "text") if attrs.get(name)]
        if attrs.get("templateId"):
            problems = {name: ["cannot be given with templateId"] for name in contents}
        else:
            problems = {} if contents else {"html": ["or text or templateId is required"]}
            if not (attrs.get("subject") or "").strip():
                problems["subject"] = ["is required"]
        if problems:
            raise ValidationError(problems)
        return attrs


class AutoSendMailBodySerializer(AutoSendMailContentSerializer):
    """A mail to one recipient."""

    to = OneRecipientSerializer()


class AutoSendBulkRecipientSerializer(MailboxSerializer):
    """A recipient of a bulk mail; its data come before those of all."""

    dynamicData = ObjectField(
        required=False, allow_null=True, error_messages={"invalid": "must be an object"}
    )
    cc = UnsupportedField(_ALONE)
    bcc = UnsupportedField(_ALONE)


class AutoSendBulkMailBodySerializer(AutoSendMailContentSerializer):
    """A mail to up to 100 recipients, of whom each gets its own."""

    recipients = ArrayField(
        child=AutoSendBulkRecipientSerializer(), min_length=1, max_length=MAX_CONTACTS, allow_empty=False
    )


# Answers -------------------------------------------------------------------------------------------------------


class AutoSendMailSerializer(serializers.Serializer[Any]):
    """A mail in the queue."""

    emailId = serializers.UUIDField()
    message = serializers.CharField()
    totalRecipients = serializers.IntegerField()


class AutoSendBulkMailSerializer(serializers.Serializer[Any]):
    """Mails in the queue; `emailIds` and `errors` are ours, the latter only where a recipient was refused."""

    batchId = serializers.UUIDField()
    totalRecipients = serializers.IntegerField()
    successCount = serializers.IntegerField()
    failedCount = serializers.IntegerField()
    emailIds = serializers.ListField(
        child=serializers.UUIDField(allow_null=True), help_text="By recipient; null: refused"
    )
    errors = AutoSendFailureSerializer(many=True, required=False)  # type: ignore[assignment]  # the field's name


_REFUSED = {
    400: "The body is invalid, or the recipient may not be written to: `MESSAGE_REFUSED`",
    404: "No such template",
}


class MailViewSet(AutoSendViewSet):
    """Mails."""

    queryset = Message.objects.none()
    # Who is unknown becomes a contact.
    scopes = {"POST": "messages:write contacts:write"}
    needs = (_TEMPLATE_NEED,)

    @document(
        "Send a mail",
        enveloped("Mail", AutoSendMailSerializer()),
        _REFUSED,
        body=AutoSendMailBodySerializer,
    )
    @action(detail=False, methods=["post"], url_path="mails/send", url_name="autosend-mail")
    def send(self, request: Request) -> Response:
        """Send a mail to one recipient, unless the address is suppressed."""
        sent = AutoSendMailBodySerializer.read(object_body(request))
        (outcome,) = self._sent(sent, [sent["to"]])
        if not isinstance(outcome, EnqueuedMessage):
            raise _error_of(outcome)
        answer = {
            "emailId": outcome.message.pk,
            "message": "Email queued successfully.",
            "totalRecipients": 1,
        }
        return self.answer(AutoSendMailSerializer(answer).data)

    @document(
        "Send a mail to up to 100 recipients",
        enveloped("BulkMail", AutoSendBulkMailSerializer()),
        {404: "No such template"},
        body=AutoSendBulkMailBodySerializer,
    )
    @action(detail=False, methods=["post"], url_path="mails/bulk", url_name="autosend-bulk-mail")
    def bulk(self, request: Request) -> Response:
        """Send each recipient its own mail; `errors` names those who were refused."""
        sent = AutoSendBulkMailBodySerializer.read(object_body(request))
        batch_id = ids.uuid7()
        outcomes = self._sent(sent, sent["recipients"], batch_id)
        errors = [
            {"index": index, **error_of(_error_of(outcome))}
            for index, outcome in enumerate(outcomes)
            if not isinstance(outcome, EnqueuedMessage)
        ]
        answer = {
            "batchId": batch_id,
            "totalRecipients": len(outcomes),
            "successCount": len(outcomes) - len(errors),
            "failedCount": len(errors),
            "emailIds": [
                outcome.message.pk if isinstance(outcome, EnqueuedMessage) else None for outcome in outcomes
            ],
            **({"errors": errors} if errors else {}),
        }
        return self.answer(AutoSendBulkMailSerializer(answer).data)

    def _sent(
        self, sent: Mapping[str, Any], recipients: Sequence[Mapping[str, Any]], batch_id: UUID | None = None
    ) -> list[Outcome]:
        self._check_tracking(sent)
        data = sent.get("dynamicData") or {}
        return send_emails(
            self.workspace.id,
            self._template(sent),
            [
                EmailRecipient(
                    each["email"],
                    {
                        "email": each["email"],
                        "name": each.get("name"),
                        **data,
                        **(each.get("dynamicData") or {}),
                    },
                )
                for each in recipients
            ],
            headers=sent.get("headers"),
            batch_id=batch_id,
        )

    def _check_tracking(self, sent: Mapping[str, Any]) -> None:
        """Raise InvalidBody where a mail is to be tracked otherwise than the channel's mails are."""
        options = settings_of(self.workspace.id, Channel.EMAIL).options
        problems = [
            (name, "unsupported", f"cannot differ from the e-mail channel's {option}, which is {_json(own)}")
            for name, option in _TRACKING.items()
            if sent.get(name) is not None and sent[name] != (own := bool(options.get(option, True)))
        ]
        if problems:
            raise InvalidBody(problems)

    def _template(self, sent: Mapping[str, Any]) -> Template:
        """Return the unsaved template that says what the body does. Raises InvalidBody, TemplateNotFound."""
        if sent.get("templateId"):
            self.need(_TEMPLATE_NEED)
            template = get_template(self.workspace.id, parse_uuid(sent["templateId"]) or NO_ID)
            template.subject = sent.get("subject") or template.subject
        else:
            template = Template(
                id=None,
                workspace_id=self.workspace.id,
                subject=sent["subject"],
                body=sent.get("html") or "",
                text=sent.get("text") or "",
            )
        template.sender = sent["from"]["mailbox"]
        template.reply_to = (sent.get("replyTo") or {}).get("mailbox") or template.reply_to
        try:
            check_template(template)
        except TemplateFault as error:
            part, _, fault = error.message.partition(": ")
            problem = f"is no Liquid template: {fault}"
            raise InvalidBody([(_PART_OF_BODY.get(part, "html"), "invalid_template", problem)]) from error
        return template


def _json(value: bool) -> str:
    return "true" if value else "false"


def _error_of(outcome: RefusedMessage | DomainError) -> DomainError:
    if isinstance(outcome, RefusedMessage):
        return MessageRefused(outcome.reason, outcome.detail)
    return outcome
