"""Why a campaign, or what it needs, cannot be taken, changed or started."""

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
