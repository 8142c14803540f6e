"""What becomes of the refused calls of a batch, whose sender is answered as if all were well."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db import transaction

logger = logging.getLogger(__name__)


def log_refused(workspace_id: UUID, codes: Sequence[str]) -> None:
    """Log the codes of refused calls once the others are committed; the quarantine has the calls."""
    if codes:
        transaction.on_commit(partial(_log, workspace_id, codes), robust=True)


def _log(workspace_id: UUID, codes: Sequence[str]) -> None:
    logger.warning("Refused calls of a batch in the workspace %s: %s", workspace_id, dict(Counter(codes)))
