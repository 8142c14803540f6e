"""Endpoints of sign-in, API keys and health in the native API."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import login, logout
from django.middleware.csrf import get_token
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from config import clock
from config.http.rendering import iso_millis
from config.ids import parse_uuid
from workspaces.access import Credential
from workspaces.api.native import NativePublicViewSet, NativeViewSet
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
from workspaces.models import ApiKey, User, Workspace
from workspaces.services import issue_api_key, revoke_api_key, set_allowed_origins

_REFUSED = OpenApiResponse(ErrorSerializer)
_SIGN_IN_REFUSALS = dict.fromkeys((400, 401, 413, 415, 429), _REFUSED)
_REFUSALS = dict.fromkeys((400, 401, 403, 404, 413, 415, 429), _REFUSED)


class SignInViewSet(NativePublicViewSet):
    """Sessions and JWTs of members, staff or not."""

    # A form on another site cannot send JSON, which is all that the parser takes: no CSRF token is needed.
    @extend_schema(
        operation_id="login",
        tags=["auth"],
        auth=[],
        request=CredentialsSerializer,
        responses={200: SessionSerializer, **_SIGN_IN_REFUSALS},
    )
    @action(detail=False, methods=["post"])
    def login(self, request: Request) -> Response:
        """Start a session: sets the session cookie and the CSRF cookie."""
        credentials = read_body(CredentialsSerializer, request)
        user = user_signing_in(request._request, credentials["identifier"], credentials["password"])
        open_session(request._request)
        login(request._request, user)
        return _session(request, user)

    @extend_schema(
        operation_id="logout",
        tags=["auth"],
        request=None,
        responses={204: None, 401: _REFUSED, 403: _REFUSED},
    )
    @action(
        detail=False,
        methods=["post"],
        authentication_classes=(BearerAuthentication, SessionAuthentication),
    )
    def logout(self, request: Request) -> Response:
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

    @extend_schema(
        operation_id="getSession", tags=["auth"], responses={200: SessionSerializer, 401: _REFUSED}
    )
    @action(detail=False, authentication_classes=(SessionAuthentication,))
    def session(self, request: Request) -> Response:
        """Return the signed-in user, their workspaces, and a CSRF token."""
        return _session(request, _signed_in(request))

    @extend_schema(
        operation_id="createToken",
        tags=["auth"],
        auth=[],
        request=TokenRequestSerializer,
        responses={200: TokenPairSerializer, 403: _REFUSED, **_SIGN_IN_REFUSALS},
    )
    @action(detail=False, methods=["post"])
    def token(self, request: Request) -> Response:
        """Return an access and a refresh token for one workspace, named if the user has several."""
        wanted = read_body(TokenRequestSerializer, request)
        user = user_signing_in(request._request, wanted["identifier"], wanted["password"])
        return Response(TokenPairSerializer(issue_tokens(user, wanted.get("workspace"))).data)

    @extend_schema(
        operation_id="refreshToken",
        tags=["auth"],
        auth=[],
        request=TokenRefreshSerializer,
        responses={200: RefreshedTokensSerializer, **_SIGN_IN_REFUSALS},
    )
    @action(detail=False, methods=["post"], url_path="token/refresh")
    def refresh(self, request: Request) -> Response:
        """Return a new access token while the user is still a member, and the refresh token to use next.

        A refresh token is good once: using it again revokes all tokens of its sign-in.
        """
        pair = refresh_tokens(read_body(TokenRefreshSerializer, request)["refresh"])
        return Response(RefreshedTokensSerializer(pair).data)


class HealthViewSet(NativePublicViewSet):
    """Whether the process answers."""

    @extend_schema(operation_id="getHealth", tags=["health"], auth=[], responses={200: HealthSerializer})
    @action(detail=False)
    def health(self, request: Request) -> Response:
        """Return a sign of life; it touches nothing but the process itself."""
        version = settings.SPECTACULAR_SETTINGS["VERSION"]
        alive = {"status": "ok", "timestamp": clock.now(), "version": version}
        return Response(HealthSerializer(alive).data)


class OwnWorkspaceViewSet(NativeViewSet):
    """A workspace itself."""

    queryset = Workspace.objects.none()
    serializer_class = WorkspaceSerializer
    lookup_url_kwarg = "workspace_id"
    scopes = {"PATCH": "keys:write"}

    @extend_schema(
        operation_id="getWorkspace", tags=["workspace"], responses={200: WorkspaceSerializer, **_REFUSALS}
    )
    def retrieve(self, request: Request, workspace_id: str) -> Response:
        """Return the workspace."""
        return Response(WorkspaceSerializer(self.workspace).data)

    @extend_schema(
        operation_id="updateWorkspace",
        tags=["workspace"],
        request=WorkspaceChangeSerializer,
        responses={200: WorkspaceSerializer, **_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str) -> Response:
        """Replace the origins whose pages may send events; it needs the scope that issues keys."""
        origins = read_body(WorkspaceChangeSerializer, request)["allowedOrigins"]
        return Response(WorkspaceSerializer(set_allowed_origins(self.workspace, origins)).data)


class ApiKeyViewSet(NativeViewSet):
    """The API keys of a workspace."""

    queryset = ApiKey.objects.none()
    serializer_class = ApiKeySerializer
    scope = "keys"
    secrets_shown = ("key",)

    @extend_schema(
        operation_id="listKeys", tags=["keys"], responses={200: ApiKeySerializer(many=True), **_REFUSALS}
    )
    @action(detail=False)
    def keys(self, request: Request, workspace_id: str) -> Response:
        """List the keys that are not revoked, newest first, each masked."""
        keys = ApiKey.objects.in_workspace(self.workspace.id).filter(revoked_at=None)
        return Response(ApiKeySerializer(keys, many=True).data)

    @extend_schema(
        operation_id="issueKey",
        tags=["keys"],
        request=IssueKeySerializer,
        responses={201: ApiKeySerializer, **_REFUSALS},
    )
    @keys.mapping.post
    def issue(self, request: Request, workspace_id: str) -> Response:
        """Issue a key that may do no more than the one who asks; `key` is the whole key, this once."""
        wanted = read_body(IssueKeySerializer, request)
        _refuse_more_than_own(request.auth, wanted)
        issued = issue_api_key(
            self.workspace.id,
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
    @keys.mapping.delete
    def revoke(self, request: Request, workspace_id: str) -> Response:
        """Revoke the key that `keyId` names, effective at once; one that may do more than you is a 403."""
        key_id = parse_uuid(read_body(RevokeKeySerializer, request)["keyId"])
        own = request.auth.scopes if isinstance(request.auth, Credential) else frozenset()
        revoke_api_key(self.workspace.id, key_id, within=own)
        return Response(SuccessSerializer({"success": True}).data)


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


def _session(request: Request, user: User) -> Response:
    memberships = user.memberships.select_related("workspace").order_by("workspace__name", "workspace_id")
    session = {"user": user, "workspaces": memberships, "csrfToken": get_token(request._request)}
    return Response(SessionSerializer(session).data)
