"""What stands behind the native API's routes: a refusal in its own format, not Django's page."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from workspaces.api.native import NativePublicView


class NoSuchRoute(NativePublicView):
    """Answers 404 to any method."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before a method is looked for."""
        raise NotFound
