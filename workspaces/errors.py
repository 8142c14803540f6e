"""Domain errors of workspaces, members and credentials."""

from collections.abc import Sequence

from config.errors import ConflictError, DomainError, ForbiddenError, NotFoundError, UnauthenticatedError


class AccessDenied(ForbiddenError):
    """The credential is valid, but not for this workspace or action; `scope` is what it lacks."""

    code = "access_denied"

    def __init__(self, message: str = "", *, scope: str = "") -> None:
        lacking = f"This needs the scope {' and '.join(scope.split())}." if scope else ""
        super().__init__(message or lacking or "You do not have access to this.")
        self.scope = scope


class CredentialChanged(ConflictError):
    """A key or token was revoked, expired or changed since it was looked up; nothing was done."""

    code = "credential_changed"
    message = "The credential has changed"


class WorkspaceNotFound(NotFoundError):
    """There is no such workspace; only a superuser is told so."""

    code = "workspace_not_found"
    message = "Workspace not found"


class WorkspaceRequired(DomainError):
    """The user has several workspaces, so the request has to name one."""

    code = "workspace_required"
    message = "Name the workspace: you are a member of several, or of none."


class InvalidEmail(DomainError):
    """The text is not an e-mail address."""

    code = "invalid_email"
    message = "This is no e-mail address."


class InvalidCredentials(UnauthenticatedError):
    """No active user has this name or address with this password."""

    code = "invalid_credentials"
    message = "Wrong user name or password"


class InvalidToken(UnauthenticatedError):
    """A refresh token is forged, expired, or no longer backed by its user's membership."""

    code = "invalid_token"
    message = "The token is invalid or has expired"


class UnknownScopes(DomainError):
    """Scopes were requested that do not exist."""

    code = "unknown_scopes"

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"Unknown scopes: {', '.join(scopes)}")
        self.scopes = list(scopes)


class InvalidOrigins(DomainError):
    """An origin is malformed, or there are too many."""

    code = "invalid_origins"

    def __init__(self, message: str) -> None:
        super().__init__("Validation failed")
        self.details = {"allowedOrigins": [message]}


class LastOwner(DomainError):
    """The workspace would be left without an owner."""

    code = "last_owner"
    message = "A workspace keeps at least one owner"


class ApiKeyNotFound(NotFoundError):
    """The workspace has no such API key."""

    code = "api_key_not_found"
    message = "API key not found"


class ExpiryInPast(DomainError):
    """A key would be expired when it is issued."""

    code = "expiry_in_past"
    message = "The expiry must be in the future"
