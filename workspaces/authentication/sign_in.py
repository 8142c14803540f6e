"""Sign-in by user name or e-mail address, and its rate limits, for every endpoint that takes a password."""

import hashlib
import logging
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from config.http.client_addresses import client_address, logged_address
from config.values.emails import canonical_email
from workspaces.errors import InvalidCredentials
from workspaces.models import User
from workspaces.throttles import hit, is_used_up, throttled

logger = logging.getLogger(__name__)

_KNOWN: Final = "1/30 day"
"""How long an IP address counts as known for an account that it opened."""
_LOGGED: Final = "1/minute"


class AccountBackend(ModelBackend):
    """Django's users by user name or e-mail address, within the limits on signing in.

    Raises Throttled, before hashing, after too many attempts from an address, at an account, or in total.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """Return the active user of this name or e-mail address with this password."""
        if username is None or password is None:
            return None
        if request is not None:
            check_login_throttle(request)
        user = user_named(username)
        account = _account(user, username)
        if request is not None:
            _count(request, account)
        if user is None:
            # Take as long as for an existing user.
            User().set_password(password)
            reason = "no such user"
        elif not user.check_password(password):
            reason = "wrong password"
        else:
            reason = "" if self.user_can_authenticate(user) else "inactive user"
        if request is not None and reason:
            log_refusal(request, reason, user)
        elif request is not None:
            hit(_known(request, account), _KNOWN, "")
        return None if reason else user


def user_signing_in(request: HttpRequest, identifier: str, password: str) -> User:
    """Return the active user with this user name or e-mail address and password.

    Raises InvalidCredentials, or Throttled after too many attempts.
    """
    user: Any = authenticate(request, username=identifier, password=password)
    if not isinstance(user, User):
        raise InvalidCredentials
    return user


def check_login_throttle(request: HttpRequest) -> None:
    """Raise Throttled for an address with too many attempts at any account, without a look-up."""
    identity = _address(request)
    if wait := is_used_up(identity, settings.LOGIN_ADDRESS_RATE_LIMIT):
        _refuse(request, identity, wait, "too many attempts from the address")


def count_failure(request: HttpRequest, reason: str) -> None:
    """Count a failed attempt where successful ones are not counted, with a client's secret say."""
    hit(_address(request), settings.LOGIN_ADDRESS_RATE_LIMIT, "")
    log_refusal(request, reason)


def count_password(request: HttpRequest, user: User) -> None:
    """Count that somebody who is signed in tells their password again. Raises Throttled."""
    check_login_throttle(request)
    _count(request, str(user.pk))


def log_refusal(request: HttpRequest, reason: str, user: User | None = None) -> None:
    """Log a refusal with its reason, without the name: it may be a password in the wrong field."""
    who = f", user {user.pk}" if user is not None else ""
    logger.warning("Sign-in refused: %s%s, from %s", reason, who, logged_address(request))


def _count(request: HttpRequest, account: str) -> None:
    """Count an attempt at an account. Raises Throttled.

    Strangers use up the limits of an account and in total; an address that opened the account before has only
    its own limits.
    """
    address = client_address(request)
    own = [
        (_address(request), settings.LOGIN_ADDRESS_RATE_LIMIT, "the address"),
        (f"login:{address}:{account}", settings.LOGIN_RATE_LIMIT, "the address at the account"),
    ]
    strangers = [
        ("login-total", settings.LOGIN_TOTAL_RATE_LIMIT, "all strange addresses"),
        (f"login-account:{account}", settings.LOGIN_ACCOUNT_RATE_LIMIT, "strange addresses at the account"),
    ]
    limits = own if is_used_up(_known(request, account), _KNOWN) else own + strangers
    for identity, rate, whose in limits:
        attempt = hit(identity, rate, "")
        if attempt is not None and attempt.wait_seconds:
            _refuse(request, identity, attempt.wait_seconds, f"too many attempts from {whose}")


def _refuse(request: HttpRequest, identity: str, wait_seconds: int, reason: str) -> None:
    # One line a minute: a flood of attempts must not flood the log.
    logged = hit(f"logged:{identity}", _LOGGED, "")
    if logged is None or not logged.wait_seconds:
        log_refusal(request, reason)
    raise throttled(wait_seconds)


def _address(request: HttpRequest) -> str:
    return f"login-address:{client_address(request)}"


def _known(request: HttpRequest, account: str) -> str:
    return f"login-known:{client_address(request)}:{account}"


def _account(user: User | None, identifier: str) -> str:
    """Return the key under which attempts at an account are counted.

    User name and e-mail address have one key, as unknown names do, so that limits do not reveal who exists.
    """
    if user is None:
        user = User.objects.filter(username__iexact=identifier).order_by("pk").first()
    return str(user.pk) if user is not None else _digest(identifier)


def _digest(identifier: str) -> str:
    """Return the hash of an unknown name: names are not stored."""
    name = canonical_email(identifier) or identifier.casefold()
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def user_named(identifier: str) -> User | None:
    """Return the user of a name or an e-mail address."""
    user = User.objects.filter(username=identifier).first()
    if user is None and "@" in identifier:
        user = User.objects.filter(email__iexact=canonical_email(identifier) or identifier).first()
    return user
