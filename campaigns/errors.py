"""Why a campaign, or what it needs, cannot be taken, changed or started."""

from collections.abc import Mapping, Sequence

from config.errors import DomainError


class CampaignNotFound(DomainError):
    code = "campaign_not_found"

    def __init__(self) -> None:
        super().__init__("Campaign not found")


class CampaignExists(DomainError):
    code = "campaign_exists"

    def __init__(self, name: str) -> None:
        super().__init__("A campaign with this name already exists")
        self.name = name


class InvalidCampaign(DomainError):
    """A value beside the definition cannot be; `field` is whose."""

    code = "invalid_campaign"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidDefinition(DomainError):
    """What a campaign does cannot be so; `path` is where the fault is."""

    code = "invalid_definition"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path, self.detail = path, message


class WrongStatus(DomainError):
    """What was asked for cannot be done to a campaign of this status."""

    code = "wrong_campaign_status"

    def __init__(self, status: str, wanted: str) -> None:
        super().__init__(f"The campaign is {status.lower()}; {wanted}")
        self.status = status


class BroadcastNotFound(DomainError):
    code = "broadcast_not_found"

    def __init__(self) -> None:
        super().__init__("Broadcast not found")


class BroadcastFinished(DomainError):
    code = "broadcast_finished"

    def __init__(self) -> None:
        super().__init__("The broadcast is finished or cancelled")


class BroadcastAlreadyStarted(DomainError):
    code = "broadcast_begun"

    def __init__(self) -> None:
        super().__init__("The broadcast has begun; it can only be cancelled")


class StartInPast(DomainError):
    """Nothing can be started so long ago."""

    code = "invalid_start"

    def __init__(self) -> None:
        super().__init__("It lies in the past")


class TemplateNotFound(DomainError):
    code = "template_not_found"

    def __init__(self) -> None:
        super().__init__("Template not found")


class TemplateExists(DomainError):
    code = "template_exists"

    def __init__(self, name: str) -> None:
        super().__init__("A template with this name already exists")
        self.name = name


class TemplateInUse(DomainError):
    """Campaigns or forms send it; `users` are their names."""

    code = "template_in_use"

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(f"This template is sent by: {', '.join(users)}")
        self.users = tuple(users)


class SuppressionNotFound(DomainError):
    code = "suppression_not_found"

    def __init__(self) -> None:
        super().__init__("Suppression not found")


class InvalidAddress(DomainError):
    """It cannot be an address on the channel; `field` is where it was said."""

    code = "invalid_address"

    def __init__(self, channel: str, field: str = "address") -> None:
        super().__init__(f"This cannot be an address on the channel {channel}")
        self.channel = channel
        self.details = {field: [self.sentence]}


class InvalidChannelSettings(DomainError):
    """A value that a channel cannot be used with; `field` is whose."""

    code = "invalid_channel_settings"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class MessageNotFound(DomainError):
    code = "message_not_found"

    def __init__(self) -> None:
        super().__init__("Message not found")


class EnrollmentNotFound(DomainError):
    code = "run_not_found"

    def __init__(self) -> None:
        super().__init__("Run not found")


class TemplateFault(DomainError):
    """A template that cannot be read, or does what none may."""

    code = "invalid_template"


class ValueMissing(DomainError):
    """A template asks for a value that is not there: what came of it would have a hole."""

    code = "value_missing"


class MessageNotUnknown(DomainError):
    """Only what may have left or not is settled by hand."""

    code = "message_not_unknown"

    def __init__(self, status: str) -> None:
        super().__init__(f"The message is {status.lower()}, not unknown")
        self.status = status


class MessageRefused(DomainError):
    """There is no message, for `reason`; `detail` has what more there is to say."""

    code = "message_refused"

    def __init__(self, reason: str, detail: Mapping[str, object]) -> None:
        super().__init__(f"Not sent: {reason}")
        self.reason, self.detail = reason, detail

    @property
    def details(self) -> dict[str, list[str]]:
        """The reason, and what there is to say about it."""
        return {"reason": [self.reason], **{name: [str(value)] for name, value in self.detail.items()}}


class FormNotFound(DomainError):
    code = "form_not_found"

    def __init__(self) -> None:
        super().__init__("Form not found")


class FormExists(DomainError):
    code = "form_exists"

    def __init__(self, name: str) -> None:
        super().__init__("A form with this name already exists")
        self.name = name


class InvalidForm(DomainError):
    """A form cannot be so; `field` is what of it."""

    code = "invalid_form"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class OriginNotAllowed(DomainError):
    """The form is not for the page that it was sent from."""

    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__("This page may not send the form")


class InvalidSubmission(DomainError):
    """Answers that the form does not take; `details` has every field's faults."""

    code = "invalid_submission"

    def __init__(self, details: Mapping[str, list[str]]) -> None:
        super().__init__("Validation failed")
        self.details = dict(details)


class NoBot(DomainError):
    """The workspace has no token of a bot."""

    code = "no_bot"

    def __init__(self) -> None:
        super().__init__("The workspace has no Telegram bot")


class RegistrationRefused(DomainError):
    """Telegram did not take the address."""

    code = "registration_refused"
