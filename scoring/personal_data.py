"""Scoring's personal data, for export and erasure."""

from contacts.erasure.erasures import PersonalDataSource
from scoring.models import RuleScore, ScoreEntry

PERSONAL_DATA = PersonalDataSource({"scoreEntries": ScoreEntry, "ruleScores": RuleScore})
