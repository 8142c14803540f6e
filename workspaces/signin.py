"""How a person proves who they are."""

from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest

from config.addresses import client_address
from config.mailboxes import canonical_email
from workspaces.errors import InvalidCredentials
from workspaces.models import User
from workspaces.throttles import hit, throttled


def user_signing_in(request: HttpRequest, identifier: str, password: str) -> User:
    """Return the active user with this user name or e-mail address and password.

    Raises InvalidCredentials, or Throttled after too many attempts from one address.
    """
    attempt = hit(f"login:{client_address(request)}:{identifier.lower()}", settings.LOGIN_RATE_LIMIT, "")
    if attempt is not None and attempt.wait_seconds:
        raise throttled(attempt)
    user: Any = authenticate(request, username=_username(identifier), password=password)
    if not isinstance(user, User):
        raise InvalidCredentials
    return user


def _username(identifier: str) -> str:
    if "@" not in identifier or User.objects.filter(username=identifier).exists():
        return identifier
    username = (
        User.objects.filter(email__iexact=canonical_email(identifier) or identifier)
        .values_list("username", flat=True)
        .first()
    )
    return username or identifier
