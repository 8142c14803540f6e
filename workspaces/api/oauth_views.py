"""OAuth 2.0 endpoints: the library's, which reject input that it would answer with a 500."""

import base64
import binascii
from typing import Any

from csp.decorators import csp_replace
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.db import DataError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import AccessToken
from oauth2_provider.views import AuthorizationView, RevokeTokenView, TokenView
from rest_framework.exceptions import MethodNotAllowed, UnsupportedMediaType

from workspaces.api.errors import OAUTH_ERRORS, report
from workspaces.authentication.oauth import may_authorize
from workspaces.authentication.sign_in import check_login_throttle, count_failure

_LONGEST_PARAMETER = 4096
# RFC 6749 knows the first only; the other is the same fields in another wrapping.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

# Of the endpoints' answers `invalid_client` alone; there is no rate for those that are good.
_UNKNOWN_CLIENT = 401


class RefusesUnusableInput:
    """Answers 400 where the library would pass on text that no database can hold."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Refuse NUL characters and overlong values; otherwise let the library answer."""
        if _has_unusable_text(request):
            return _invalid_request()
        try:
            response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        except (ValueError, DataError):
            # oauthlib raises ValueError for what is not URL-encoded; a column too short raises DataError.
            return _invalid_request()
        return response


class OAuthEndpoint(RefusesUnusableInput):
    """An endpoint for clients, not people: whatever fails, the answer is JSON."""

    error_table = OAUTH_ERRORS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a form that is posted; refuse everything else."""
        try:
            if request.method != "POST":
                raise MethodNotAllowed(request.method or "")
            if request.content_type not in _FORMS:
                raise UnsupportedMediaType(request.content_type or "")
            check_login_throttle(request)
            answer = super().dispatch(request, *args, **kwargs)
            if answer.status_code == _UNKNOWN_CLIENT:
                count_failure(request, "unknown client or wrong client secret")
            return answer
        except Exception as error:
            refusal = self.error_table.refusal(error) or self.error_table.fault(error)
            response = self.error_table.http_response(refusal)
            report(refusal, request, response)
            if isinstance(error, MethodNotAllowed):
                response.headers["Allow"] = "POST"
            return response


# Clients have no cookie; the library says so on a `dispatch` that the mixin's hides.
@method_decorator(csrf_exempt, name="dispatch")
class OAuthTokenView(OAuthEndpoint, TokenView):  # type: ignore[misc]
    """Exchanges client credentials, an authorization code or a refresh token for an access token."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer every grant but the device flow, which has no endpoints here."""
        if request.POST.get("grant_type", "").endswith(":device_code"):
            return JsonResponse({"error": "unsupported_grant_type"}, status=400)
        try:
            response: HttpResponseBase = self.authorization_flow_token_response(request)
        except AccessToken.DoesNotExist:
            # Another request showed the same refresh token, and so revoked what this one was to get.
            return JsonResponse({"error": "invalid_grant"}, status=400)
        return response


@method_decorator(csrf_exempt, name="dispatch")
class OAuthRevokeView(OAuthEndpoint, RevokeTokenView):  # type: ignore[misc]
    """Revokes a token at once."""


# Its form leads on to the client's address, wherever that is.
@method_decorator(csp_replace({"form-action": None}), name="dispatch")
class OAuthAuthorizeView(RefusesUnusableInput, AuthorizationView):  # type: ignore[misc]
    """Asks a member of the application's workspace for consent."""

    template_name = "workspaces/authorize.html"
    login_url = "oauth2-login"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Refuse users who have no part in the application's workspace. Raises PermissionDenied."""
        parameters = request.POST if request.method == "POST" else request.GET
        client_id = parameters.get("client_id", "")
        usable = bool(client_id) and "\x00" not in client_id
        if request.user.is_authenticated and usable and not may_authorize(request.user, client_id):
            raise PermissionDenied("You are not a member of this application's workspace.")
        return super().dispatch(request, *args, **kwargs)


class OAuthLoginView(LoginView):
    """Signs a member in on the way to `authorize`; the admin's own page admits staff only."""

    template_name = "workspaces/login.html"


def _has_unusable_text(request: HttpRequest) -> bool:
    texts = [_basic_credentials(request.META.get("HTTP_AUTHORIZATION", ""))]
    for parameters in (request.GET, request.POST):
        for name, values in parameters.lists():
            texts += [name, *map(str, values)]
    return any("\x00" in text or len(text) > _LONGEST_PARAMETER for text in texts)


def _basic_credentials(header: str) -> str:
    try:
        return base64.b64decode(header.partition(" ")[2].encode()).decode("latin-1")
    except (binascii.Error, ValueError):
        return header


def _invalid_request() -> JsonResponse:
    return JsonResponse({"error": "invalid_request"}, status=400)
