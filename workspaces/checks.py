"""System checks of rate limits."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name

from workspaces.rates import parse_rate


def check_shared_rate_limits(**_: Any) -> list[CheckMessage]:
    """Warn of limits that each web node counts for itself."""
    if settings.RATE_LIMIT_STORAGE_URL.startswith("memory") and settings.RATE_LIMIT_PROCESSES == 1:
        return [
            Warning(
                "Rate limits are counted by each web process for itself: several grant so many times as much.",
                hint="Set RATE_LIMIT_STORAGE_URL to redis://…, or RATE_LIMIT_PROCESSES to their number.",
                id="headrace.W010",
            )
        ]
    return []


_LOGIN_RATES = (
    "LOGIN_RATE_LIMIT",
    "LOGIN_ADDRESS_RATE_LIMIT",
    "LOGIN_ACCOUNT_RATE_LIMIT",
    "LOGIN_TOTAL_RATE_LIMIT",
)


def check_login_rates(**_: Any) -> list[CheckMessage]:
    """Report sign-in limits that cannot be parsed."""
    return [
        Error(f"{name} is not a rate.", hint='Write it as "30/minute".', id="headrace.E010")
        for name in _LOGIN_RATES
        if not _is_rate(getattr(settings, name))
    ]


def _is_rate(text: str) -> bool:
    try:
        return parse_rate(text).amount > 0
    except ValueError:
        return False
