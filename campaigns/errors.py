"""Domain errors of campaigns, messages, templates and forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.errors import (
    ConflictError,
    DomainError,
    ForbiddenError,
    InvalidValue,
    NotFoundError,
    UnprocessableError,
)


class CampaignNotFound(NotFoundError):
    code = "campaign_not_found"
    message = "Campaign not found"


class CampaignExists(ConflictError):
    code = "campaign_exists"
    message = "A campaign with this name already exists"

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name


class InvalidCampaign(InvalidValue):
    """A field other than the definition has an invalid value."""

    code = "invalid_campaign"


class InvalidDefinition(DomainError):
    """A definition is invalid; `path` locates the fault in its JSON."""

    code = "invalid_definition"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path, self.detail = path, message


class WrongStatus(ConflictError):
    """The campaign's status does not allow the action."""

    code = "wrong_campaign_status"

    def __init__(self, status: str, wanted: str) -> None:
        super().__init__(f"The campaign is {status.lower()}; {wanted}")
        self.status = status


class BroadcastNotFound(NotFoundError):
    code = "broadcast_not_found"
    message = "Broadcast not found"


class BroadcastFinished(ConflictError):
    code = "broadcast_finished"
    message = "The broadcast is finished or cancelled"


class BroadcastAlreadyStarted(ConflictError):
    code = "broadcast_begun"
    message = "The broadcast has begun; it can only be cancelled"


class StartInPast(DomainError):
    """A start time lies too far in the past."""

    code = "invalid_start"
    message = "It lies in the past"


class TemplateNotFound(NotFoundError):
    code = "template_not_found"
    message = "Template not found"


class TemplateExists(ConflictError):
    code = "template_exists"
    message = "A template with this name already exists"


class TemplateInUse(ConflictError):
    """A template that campaigns or forms send cannot be deleted; `users` are their names."""

    code = "template_in_use"

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(f"This template is sent by: {', '.join(users)}")
        self.users = tuple(users)


class ChannelInUse(ConflictError):
    """The settings of a channel that campaigns send by cannot be deleted; `users` are their names."""

    code = "channel_in_use"

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(f"This channel is used by: {', '.join(users)}")
        self.users = tuple(users)


class SuppressionNotFound(NotFoundError):
    code = "suppression_not_found"
    message = "Suppression not found"


class InvalidAddress(DomainError):
    """Not a valid address of the channel; `field` is the request's field that has it."""

    code = "invalid_address"

    def __init__(self, channel: str, field: str = "address") -> None:
        super().__init__(f"This cannot be an address on the channel {channel}")
        self.channel = channel
        self.details = {field: [self.sentence]}


class InvalidChannelSettings(InvalidValue):
    """A channel setting has an invalid value."""

    code = "invalid_channel_settings"


class MessageNotFound(NotFoundError):
    code = "message_not_found"
    message = "Message not found"


class EnrollmentNotFound(NotFoundError):
    code = "run_not_found"
    message = "Run not found"


class TemplateFault(DomainError):
    """A template that cannot be parsed, or uses a forbidden feature."""

    code = "invalid_template"


class ValueMissing(UnprocessableError):
    """A template requires a value that the contact or event lacks."""

    code = "value_missing"


class MessageNotUnknown(ConflictError):
    """Only a message of unknown outcome can be resolved by hand."""

    code = "message_not_unknown"

    def __init__(self, status: str) -> None:
        super().__init__(f"The message is {status.lower()}, not unknown")
        self.status = status


class MessageRefused(UnprocessableError):
    """Policy does not allow the message; `detail` has values that explain `reason`."""

    code = "message_refused"

    def __init__(self, reason: str, detail: Mapping[str, object]) -> None:
        super().__init__(f"Not sent: {reason}")
        self.reason, self.detail = reason, detail

    @property
    def details(self) -> dict[str, list[str]]:
        """Return the reason and its detail as a field's messages."""
        return {"reason": [self.reason], **{name: [str(value)] for name, value in self.detail.items()}}


class FormNotFound(NotFoundError):
    code = "form_not_found"
    message = "Form not found"


class FormExists(ConflictError):
    code = "form_exists"
    message = "A form with this name already exists"


class InvalidForm(InvalidValue):
    """A form's field has an invalid value."""

    code = "invalid_form"


class OriginNotAllowed(ForbiddenError):
    """The form does not accept submissions from this page's origin."""

    code = "origin_not_allowed"
    message = "This page may not send the form"


class InvalidSubmission(DomainError):
    """A form submission is invalid; `details` has the messages by field."""

    code = "invalid_submission"

    def __init__(self, details: Mapping[str, list[str]]) -> None:
        super().__init__("Validation failed")
        self.details = dict(details)


class NoBot(DomainError):
    """The workspace has no Telegram bot token."""

    code = "no_bot"
    message = "The workspace has no Telegram bot"


class RegistrationRefused(DomainError):
    """Telegram refused to register the webhook."""

    code = "registration_refused"


class RehearsalNotFound(NotFoundError):
    code = "rehearsal_not_found"
    message = "Rehearsal not found"


class InvalidRehearsal(InvalidValue):
    """A field of a rehearsal's order has an invalid value."""

    code = "invalid_rehearsal"


@dataclass(frozen=True, slots=True)
class ConfigurationFault:
    """What is wrong with a file of a configuration; `path`: the place in it, blank for the whole."""

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path, self.message) if part)


class InvalidConfiguration(DomainError):
    """Files of a configuration that cannot be applied; nothing of any was."""

    code = "invalid_configuration"

    def __init__(self, faults: Sequence[ConfigurationFault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class ConfigurationChanged(ConflictError):
    """The workspace or the folder is not what it was when it was planned."""

    code = "configuration_changed"

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"Something has changed since the plan {expected}: the plan would be {found} now")
