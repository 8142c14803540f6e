"""Choices and bounds as the native API spells them."""

from typing import Final

from django.db.models import TextChoices

from campaigns.models import Decision, Enrollment
from campaigns.models.messages import Channel
from campaigns.reasons import Reason


def upper(choices: type[TextChoices]) -> list[tuple[str, str]]:
    """Return choices in capitals, as the API spells them; rows have them in lower case."""
    return [(choice.value.upper(), str(choice.label)) for choice in choices]


CHANNELS = upper(Channel)
RUN_STATUSES = upper(Enrollment.Status)
DECISION_KINDS = upper(Decision.Kind)
REASONS = [(reason.value, reason.value.replace("_", " ")) for reason in Reason]
MAX_SOURCE: Final = 500_000
"""Most characters of a template's part."""
SMALLINT_MIN, SMALLINT_MAX = -(2**15), 2**15 - 1
