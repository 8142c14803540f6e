"""Choices and bounds as the native API spells them."""

from typing import Final

from django.db.models import TextChoices

from campaigns.models import Decision, Enrollment
from campaigns.models.messages import Channel
from campaigns.reasons import Reason


def upper(choices: type[TextChoices]) -> list[tuple[str, str]]:
    """Return choices in capitals, as the API spells what rows have in lower case."""
    return [(choice.value.upper(), str(choice.label)) for choice in choices]


CHANNELS = upper(Channel)
RUN_STATUSES = upper(Enrollment.Status)
DECISION_KINDS = upper(Decision.Kind)
REASONS = [(reason.value, reason.value.replace("_", " ")) for reason in Reason]
MAX_SOURCE: Final = 500_000
"""Characters of a part of a template."""
SMALLINT_MIN, SMALLINT_MAX = -(2**15), 2**15 - 1
