"""What clients in pages load before they send anything, by a page's key: Segment's settings, RudderStack's source."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from dialects.segment.errors import SEGMENT_ERRORS, NotAPageKey
from events.api.ingest import PREFLIGHT_SECONDS
from workspaces.access import Credential
from workspaces.api.base import ErrorTableMixin
from workspaces.authentication.schemes import authenticate_key


class PageSettingsView(ErrorTableMixin):
    """Settings for pages of the workspace's origins."""

    authentication_classes = ()
    error_table = SEGMENT_ERRORS
    schema = None

    def credential(self, write_key: str) -> Credential:
        """Return the credential of a page's key. Raises NotFound, and NotAPageKey for one that may do more."""
        found = authenticate_key(write_key)
        if found is None:
            raise NotFound
        if not found[1].is_public:
            raise NotAPageKey
        return found[1]

    def readable(self, request: Request, credential: Credential, response: Response) -> Response:
        """Return a response that a page of the workspace's origins may read."""
        origin = request.META.get("HTTP_ORIGIN", "")
        if credential.workspace is not None and origin.lower() in credential.workspace.allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"
        return response


class SettingsView(PageSettingsView):
    """What analytics.js asks for, with the key in the path."""

    def get(self, request: Request, write_key: str) -> Response:
        """Return the settings: where to send, and that the client's own metrics are not wanted."""
        response = Response(_settings(request, write_key))
        return self.readable(request, self.credential(write_key), response)


class SourceConfigView(PageSettingsView):
    """What RudderStack's client asks its control plane for, with the key among the parameters."""

    def get(self, request: Request) -> Response:
        """Return the source: it has no destinations, and the client's own metrics and errors are not wanted."""
        credential = self._credential_of(request)
        return self.readable(request, credential, Response(_source_config(credential)))

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Answer the preflight: the client has the key in a header besides."""
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = "GET"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return self.readable(request, self._credential_of(request), response)

    def _credential_of(self, request: Request) -> Credential:
        return self.credential(request.query_params.get("writeKey", ""))


def _settings(request: Request, write_key: str) -> dict[str, Any]:
    base = request.path.partition("/projects/")[0]
    own: dict[str, Any] = {
        "apiKey": write_key,
        "apiHost": request.get_host() + base,
        "protocol": request.scheme,
        "unbundledIntegrations": [],
        "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
    }
    return {
        "integrations": {"Segment.io": own},
        "plan": {"track": {"__default": {"enabled": True}}},
        "metrics": {"sampleRate": 0},
    }


def _source_config(credential: Credential) -> dict[str, Any]:
    unwanted = {"enabled": False}
    return {
        "source": {
            "id": str(credential.workspace_id),
            "name": "Headrace",
            "workspaceId": str(credential.workspace_id),
            "enabled": True,
            "config": {"statsCollection": {"errors": unwanted, "metrics": unwanted}},
            "destinations": [],
        }
    }
