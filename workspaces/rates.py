"""Parse rate limits such as `120/minute`."""

from django.core.exceptions import ValidationError
from limits import RateLimitItem, parse

OFF = ""
VENDOR = "vendor"


def parse_rate(text: str) -> RateLimitItem:
    """Return the parsed limit. Raises ValueError."""
    return parse(text)


def validate_rate(text: str) -> None:
    """Raise Django's ValidationError unless the text is empty, `vendor` or a rate."""
    if text in (OFF, VENDOR):
        return
    try:
        limit = parse_rate(text)
    except ValueError as error:
        raise ValidationError('Write a rate as "120/minute" or "2/second".') from error
    if limit.amount < 1:
        raise ValidationError("A rate allows at least one request.")
