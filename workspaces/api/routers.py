"""Routers of the API: paths without a trailing slash, and paths that a vendor dictates."""

from rest_framework.routers import SimpleRouter


class Router(SimpleRouter):
    """Route viewsets under plain path prefixes, such as `workspaces/<str:workspace_id>/segments`."""

    def __init__(self) -> None:
        super().__init__(trailing_slash="", use_regex_path=False)  # type: ignore[arg-type]  # "" is none
