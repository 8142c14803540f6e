"""Answers on paths that Omnisend has and Headrace has not, and on those that neither has."""

from typing import Any, ClassVar

from rest_framework.request import Request

from dialects.fallback import UnknownRouteView
from dialects.omnisend.errors import OMNISEND_ERRORS, V3_ERRORS, V5_ERRORS, EventsNeedKey, NotServed
from workspaces.api.errors import ErrorTable


class UnknownOmnisendRouteView(UnknownRouteView):
    """Answers what this API does not have, in its own format."""

    error_table: ClassVar[ErrorTable] = OMNISEND_ERRORS


class NotServedView(UnknownOmnisendRouteView):
    """Answers what the vendor's API has and this one has not, and says what it has."""

    error_table: ClassVar[ErrorTable] = V5_ERRORS

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before a method is looked for."""
        raise NotServed


class OldNotServedView(NotServedView):
    """Answers what v3 of the vendor's API has and this one has not."""

    error_table = V3_ERRORS


class NoKeyView(NotServedView):
    """Answers a shop's plugin that sends events without a key, by the brand's id alone."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before a method is looked for."""
        raise EventsNeedKey
