"""What follows for scores: the background is called."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import receiver

from scoring import tasks
from scoring.signals import rescore_wanted


def publish(workspace_id: UUID, rule_id: UUID) -> None:
    """Send the task to the broker. Raises whatever its client raises."""
    tasks.rescore_rule.apply_async(args=(str(workspace_id), str(rule_id)), retry=False)


@receiver(rescore_wanted, dispatch_uid="scoring.call_rescorers")
def call_rescorers(workspace_id: UUID, rule_id: UUID, **_: Any) -> None:
    """Have a rule re-scored once the edit is committed; the sweep comes if no message does."""
    transaction.on_commit(lambda: publish(workspace_id, rule_id), robust=True)
