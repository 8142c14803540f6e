"""What scoring has of a person."""

from contacts.erasure.erasures import PersonalDataSource
from scoring.models import RuleScore, ScoreEntry

PERSONAL_DATA = PersonalDataSource({"scoreEntries": ScoreEntry, "ruleScores": RuleScore})
