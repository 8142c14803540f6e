"""The native API's sign-in, keys and health."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import login, logout
from django.middleware.csrf import get_token
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import NotAuthenticated, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from config import clock
from config.http.rendering import iso_millis
from config.ids import parse_uuid
from workspaces.access import Credential
from workspaces.api.native import NativeAPIView, NativePublicView, object_body
from workspaces.api.serializers import (
    ApiKeySerializer,
    CredentialsSerializer,
    ErrorSerializer,
    HealthSerializer,
    IssueKeySerializer,
    RefreshedTokensSerializer,
    RevokeKeySerializer,
    SessionSerializer,
    SuccessSerializer,
    TokenPairSerializer,
    TokenRefreshSerializer,
    TokenRequestSerializer,
    WorkspaceChangeSerializer,
    WorkspaceSerializer,
)
from workspaces.api.strict import read_body
from workspaces.authentication.jwt import issue_tokens, refresh_tokens, revoke_tokens
from workspaces.authentication.schemes import BearerAuthentication, SessionAuthentication
from workspaces.authentication.sessions import open_session
from workspaces.authentication.sign_in import user_signing_in
from workspaces.errors import AccessDenied
from workspaces.models import ApiKey, User
from workspaces.services import issue_api_key, revoke_api_key, set_allowed_origins

_REFUSED = OpenApiResponse(ErrorSerializer)
_SIGN_IN_REFUSALS = dict.fromkeys((400, 401, 413, 415, 429), _REFUSED)
_REFUSALS = dict.fromkeys((400, 401, 403, 404, 413, 415, 429), _REFUSED)


class LoginView(NativePublicView):
    """Signs a member in, staff or not."""

    # A form on another site cannot send JSON, which is all that the parser takes: no CSRF token is needed.
    @extend_schema(
        operation_id="login",
        tags=["auth"],
        auth=[],
        request=CredentialsSerializer,
        responses={200: SessionSerializer, **_SIGN_IN_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Start a session: sets the session cookie and the CSRF cookie."""
        credentials = validated(CredentialsSerializer, request)
        user = user_signing_in(request._request, credentials["identifier"], credentials["password"])
        open_session(request._request)
        login(request._request, user)
        return Response(_session(request, user))


class LogoutView(NativePublicView):
    """Signs a member out."""

    authentication_classes = (BearerAuthentication, SessionAuthentication)

    @extend_schema(
        operation_id="logout",
        tags=["auth"],
        request=None,
        responses={204: None, 401: _REFUSED, 403: _REFUSED},
    )
    def post(self, request: Request) -> Response:
        """End the session, for which the CSRF token is needed; or, by a JWT, all tokens of its sign-in."""
        _signed_in(request)
        kind = request.auth.kind if isinstance(request.auth, Credential) else ""
        if kind == "jwt":
            revoke_tokens(request.META["HTTP_AUTHORIZATION"].partition(" ")[2].strip())
        elif kind == "session":
            logout(request._request)
        else:
            # Of an OAuth client: it revokes its token itself.
            raise NotAuthenticated
        return Response(status=204)


class SessionView(NativePublicView):
    """Tells who is signed in."""

    authentication_classes = (SessionAuthentication,)

    @extend_schema(
        operation_id="getSession", tags=["auth"], responses={200: SessionSerializer, 401: _REFUSED}
    )
    def get(self, request: Request) -> Response:
        """Return the signed-in user, their workspaces, and a CSRF token."""
        return Response(_session(request, _signed_in(request)))


class TokenView(NativePublicView):
    """Issues JWTs."""

    @extend_schema(
        operation_id="createToken",
        tags=["auth"],
        auth=[],
        request=TokenRequestSerializer,
        responses={200: TokenPairSerializer, 403: _REFUSED, **_SIGN_IN_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Return an access and a refresh token for one workspace, named if the user has several."""
        wanted = validated(TokenRequestSerializer, request)
        user = user_signing_in(request._request, wanted["identifier"], wanted["password"])
        pair = issue_tokens(user, wanted.get("workspace"))
        return Response({"access": pair.access, "refresh": pair.refresh, "workspace": str(pair.workspace.id)})


class TokenRefreshView(NativePublicView):
    """Renews access tokens."""

    @extend_schema(
        operation_id="refreshToken",
        tags=["auth"],
        auth=[],
        request=TokenRefreshSerializer,
        responses={200: RefreshedTokensSerializer, **_SIGN_IN_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Return a new access token while the user is still a member, and the refresh token to use next.

        A refresh token is good once: using it again revokes all tokens of its sign-in.
        """
        pair = refresh_tokens(validated(TokenRefreshSerializer, request)["refresh"])
        return Response({"access": pair.access, "refresh": pair.refresh})


class HealthView(NativePublicView):
    """Tells that the process answers."""

    @extend_schema(operation_id="getHealth", tags=["health"], auth=[], responses={200: HealthSerializer})
    def get(self, request: Request) -> Response:
        """Return a sign of life; it touches nothing but the process itself."""
        version = settings.SPECTACULAR_SETTINGS["VERSION"]
        return Response({"status": "ok", "timestamp": iso_millis(clock.now()), "version": version})


class WorkspaceView(NativeAPIView):
    """A workspace itself."""

    scopes = {"PATCH": "keys:write"}

    @extend_schema(
        operation_id="getWorkspace", tags=["workspace"], responses={200: WorkspaceSerializer, **_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """Return the workspace."""
        return Response(WorkspaceSerializer(self.workspace).data)

    @extend_schema(
        operation_id="updateWorkspace",
        tags=["workspace"],
        request=WorkspaceChangeSerializer,
        responses={200: WorkspaceSerializer, **_REFUSALS},
    )
    def patch(self, request: Request, workspace_id: str) -> Response:
        """Replace the origins whose pages may send events; it needs the scope that issues keys."""
        changes = read_body(WorkspaceChangeSerializer, request)
        return Response(
            WorkspaceSerializer(set_allowed_origins(self.workspace, changes["allowedOrigins"])).data
        )


class KeysView(NativeAPIView):
    """The API keys of a workspace."""

    scopes = {"GET": "keys:read", "POST": "keys:write", "DELETE": "keys:write"}
    secrets_shown = ("key",)

    @extend_schema(
        operation_id="listKeys", tags=["keys"], responses={200: ApiKeySerializer(many=True), **_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """List the keys that are not revoked, newest first, each masked."""
        keys = ApiKey.objects.filter(workspace=self.workspace, revoked_at=None)
        return Response(ApiKeySerializer(keys, many=True).data)

    @extend_schema(
        operation_id="issueKey",
        tags=["keys"],
        request=IssueKeySerializer,
        responses={201: ApiKeySerializer, **_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        """Issue a key that may do no more than the one who asks; `key` is the whole key, this once."""
        wanted = validated(IssueKeySerializer, request)
        _refuse_more_than_own(request.auth, wanted)
        issued = issue_api_key(
            self.workspace,
            wanted["name"],
            wanted["scopes"],
            expires_at=wanted["expiresAt"],
            rate_limit=wanted["rateLimit"],
        )
        return Response({**ApiKeySerializer(issued.api_key).data, "key": issued.secret}, status=201)

    @extend_schema(
        operation_id="revokeKey",
        tags=["keys"],
        request=RevokeKeySerializer,
        responses={200: SuccessSerializer, **_REFUSALS},
    )
    def delete(self, request: Request, workspace_id: str) -> Response:
        """Revoke the key that `keyId` names, effective at once; one that may do more than you is a 403."""
        key_id = parse_uuid(validated(RevokeKeySerializer, request)["keyId"])
        own = request.auth.scopes if isinstance(request.auth, Credential) else frozenset()
        revoke_api_key(self.workspace, key_id, within=own)
        return Response({"success": True})


def validated(serializer_class: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the request's body as the serializer reads it. Raises NotAnObject or ValidationError."""
    serializer = serializer_class(data=object_body(request))
    try:
        serializer.is_valid(raise_exception=True)
    except OverflowError as error:
        # A date near the end of time leaves Python's range when its zone is applied.
        raise ValidationError("A date is out of range.") from error
    data: dict[str, Any] = serializer.validated_data
    return data


def _refuse_more_than_own(credential: object, wanted: Mapping[str, Any]) -> None:
    """Refuse a key that would do what the asker may not, do it for longer, or more often."""
    if not isinstance(credential, Credential):
        raise AccessDenied
    if beyond := [scope for scope in wanted["scopes"] if scope not in credential.scopes]:
        raise AccessDenied(f"You cannot grant what you may not do yourself: {', '.join(beyond)}")
    end = credential.expires_at
    if end is not None and (wanted["expiresAt"] is None or wanted["expiresAt"] > end):
        raise AccessDenied(f"Your own key or token ends at {iso_millis(end)}: expiresAt cannot be later")
    if credential.rate_limit not in ("", wanted["rateLimit"]):
        raise AccessDenied(f"Your own rateLimit is {credential.rate_limit}: the key's must be the same")


def _signed_in(request: Request) -> User:
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def _session(request: Request, user: User) -> dict[str, Any]:
    memberships = user.memberships.select_related("workspace").order_by("workspace__name", "workspace_id")
    session = {"user": user, "workspaces": memberships, "csrfToken": get_token(request._request)}
    return SessionSerializer(session).data
