"""What becomes of the refused calls of a batch, whose sender is answered as if all were well."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from config.errors import DomainError
from events.metrics import EVENTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call of a batch that was not recorded, as it was sent, and why."""

    body: Any
    error: DomainError
    # By the core, which counts what it refuses.
    is_counted: bool = False


def hand_over_refused(workspace_id: UUID, refused: Sequence[RefusedCall]) -> None:
    """Take over the refused calls of a batch, in the transaction that records the others.

    They are counted and logged by their codes once that is committed. What the core refuses is in its quarantine;
    what is no call at all is not kept.
    """
    if refused:
        transaction.on_commit(partial(_note, workspace_id, refused), robust=True)


def _note(workspace_id: UUID, refused: Sequence[RefusedCall]) -> None:
    if new := sum(not call.is_counted for call in refused):
        EVENTS.labels("refused").inc(new)
    codes = Counter(call.error.code for call in refused)
    logger.warning("Refused calls of a batch in the workspace %s: %s", workspace_id, dict(codes))
