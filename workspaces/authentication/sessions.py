"""Session store, and sessions for API requests, which pass no session middleware."""

from functools import cache
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.backends import db
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware


class SessionStore(db.SessionStore):
    """Django's database sessions; keys that PostgreSQL cannot store are ignored."""

    def __init__(self, session_key: str | None = None) -> None:
        # A quoted cookie may spell a NUL, which PostgreSQL refuses as a parameter.
        super().__init__(session_key if session_key and session_key.isalnum() else None)


def open_session(request: HttpRequest) -> None:
    """Run Django's session, authentication and CSRF middleware on an API request."""
    if not hasattr(request, "session"):
        sessions, tokens, users = _middleware()
        sessions.process_request(request)
        tokens.process_request(request)
        users.process_request(request)


def close_session(request: HttpRequest, response: HttpResponseBase) -> None:
    """Save an open session and set its cookies. Raises SessionInterrupted."""
    sessions, tokens, _ = _middleware()
    tokens.process_response(request, response)
    sessions.process_response(request, response)


@cache
def _middleware() -> tuple[Any, Any, Any]:
    # Only what they do before and after the view is called, so nothing is behind them.
    return (
        SessionMiddleware(_nothing),  # type: ignore[arg-type]
        CsrfViewMiddleware(_nothing),  # type: ignore[arg-type]
        AuthenticationMiddleware(_nothing),  # type: ignore[arg-type]
    )


def _nothing(request: HttpRequest) -> None:
    return None
