"""What scoring has of a person."""

from contacts.services.erasure import PersonalData
from scoring.models import RuleScore, ScoreEntry

PERSONAL_DATA = PersonalData({"scoreEntries": ScoreEntry, "ruleScores": RuleScore})
