"""Routers of the API: paths without a trailing slash, and paths that a vendor dictates."""

from typing import Any

from rest_framework.routers import DynamicRoute, SimpleRouter


class Router(SimpleRouter):
    """Route viewsets under plain path prefixes, such as `workspaces/<str:workspace_id>/segments`."""

    def __init__(self) -> None:
        super().__init__(trailing_slash="", use_regex_path=False)  # type: ignore[arg-type]  # "" is none


class VendorRouter(SimpleRouter):
    """Route actions that carry the whole path a vendor dictates, as a regex; register their viewsets under "".

    The actions of a class are tried in the order of their definition. `url_name` is the whole name of a route.
    """

    routes = [DynamicRoute(url=r"^{url_path}\Z", name="{url_name}", detail=False, initkwargs={})]

    def get_routes(self, viewset: Any) -> list[Any]:
        """Return the viewset's routes; DRF has its actions in alphabetical order."""
        names = [name for base in reversed(viewset.__mro__) for name in vars(base)]
        return sorted(
            super().get_routes(viewset), key=lambda route: names.index(next(iter(route.mapping.values())))
        )
