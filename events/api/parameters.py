"""Query parameters of event lists."""

import re
from datetime import datetime

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from events.rules.durations import parse_moment
from workspaces.api.strict import text_parameter

# A "+" that the sender left as it is arrives as a space.
_BARE_OFFSET = re.compile(r" (\d\d:?\d\d)$", re.ASCII)


def moment_parameter(request: Request, name: str) -> datetime | None:
    """Return a parameter that is a date or a date-time, None if it is absent. Raises ValidationError."""
    text = text_parameter(request, name)
    if text is None:
        return None
    moment = parse_moment(text) or parse_moment(_BARE_OFFSET.sub(r"+\1", text))
    if not isinstance(moment, datetime):
        raise ValidationError({name: ["Must be a date or a date-time."]})
    return moment
