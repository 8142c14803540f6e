"""Cancel queued messages of enrollments that ended by a goal, an exit rule, a merge, erasure or archiving."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from campaigns.models import Decision, Message, NewDecision
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.db.arrays import array
from config.db.statements import fetch_all

CANCELLING: Final = frozenset({Reason.GOAL, Reason.EXIT_RULE, Reason.MERGED, Reason.ERASED, Reason.ARCHIVED})
"""End reasons that cancel queued messages; after an enrollment's own last step they still leave."""

_CANCEL: Final = f"""
UPDATE campaigns_message m SET status = '{Message.Status.CANCELLED}', error = w.reason
FROM unnest(%s::uuid[], %s::text[]) AS w (enrollment_id, reason)
WHERE m.workspace_id = %s AND m.enrollment_id = w.enrollment_id AND m.status = '{Message.Status.QUEUED}'
AND m.channel <> '{Channel.WEBHOOK}'
RETURNING m.id, m.campaign_id, m.contact_id, m.enrollment_id, m.event_id, m.step, m.error
"""


def cancel_messages(workspace_id: UUID, reasons: Mapping[UUID, str], now: datetime) -> int:
    """Cancel the queued messages of enrollments, with a decision each. Returns how many.

    Calls of webhooks go on: the systems behind them count on each.
    """
    if not reasons:
        return 0
    rows = fetch_all(_CANCEL, [array(reasons), array(reasons.values()), workspace_id])
    Decision.objects.record(
        workspace_id,
        [
            NewDecision(
                campaign_id=campaign_id,
                contact_id=contact_id,
                enrollment_id=enrollment_id,
                message_id=message_id,
                event_id=event_id,
                kind=Decision.Kind.NOT_SENT,
                reason=reason,
                step=step,
                decided_at=now,
            )
            for message_id, campaign_id, contact_id, enrollment_id, event_id, step, reason in rows
        ],
    )
    return len(rows)
