"""What must hold of access in production."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info

from workspaces.rates import parse_rate


def check_shared_rate_limits(**_: Any) -> list[CheckMessage]:
    """Point out limits that each web node would count for itself."""
    if settings.RATE_LIMIT_STORAGE_URL.startswith("memory"):
        return [
            Info(
                "Rate limits are counted by each web process for itself.",
                hint="Set RATE_LIMIT_STORAGE_URL to redis://…, or RATE_LIMIT_PROCESSES to their number.",
                id="headrace.I010",
            )
        ]
    return []


def check_login_rate(**_: Any) -> list[CheckMessage]:
    """Refuse a limit on signing in that cannot be read."""
    try:
        parse_rate(settings.LOGIN_RATE_LIMIT)
    except ValueError:
        return [
            Error(
                "LOGIN_RATE_LIMIT is not a rate.",
                hint='Write it as "30/minute".',
                id="headrace.E010",
            )
        ]
    return []
