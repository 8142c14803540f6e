"""What scoring tells the rest of the process."""

from django.dispatch import Signal

# Sent when a rule is to be re-scored, inside the transaction; sender=ScoringRule, workspace_id: UUID, rule_id: UUID.
rescore_wanted = Signal()
