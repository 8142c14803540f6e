"""When the background has something to do for campaigns; SQL of scalars, for `settings.SCHEDULE`."""

from datetime import timedelta

from django.conf import settings

COUNTER_DELAY = timedelta(minutes=10)
"""How old an enrollment or message is when it is counted for good: longer than any transaction can still take."""


def enrollments() -> str:
    """When an enrollment goes on by itself."""
    return """
        SELECT min(next.wake_at) FROM campaigns_campaign c CROSS JOIN LATERAL (
            SELECT wake_at FROM campaigns_enrollment
            WHERE workspace_id = c.workspace_id AND campaign_id = c.id AND status = 'open' AND wake_at IS NOT NULL
            ORDER BY wake_at LIMIT 1
        ) next WHERE c.status IN ('DRAFT', 'ACTIVE', 'COMPLETED')
    """


def broadcasts() -> str:
    """When a broadcast begins, or goes on."""
    return """
        SELECT min(b.due_at) FROM campaigns_broadcast b JOIN campaigns_campaign c ON c.id = b.campaign_id
        WHERE b.finished_at IS NULL AND c.status = 'ACTIVE' AND c.parked_at IS NULL
    """


def messages() -> str:
    """When a message may leave. However many are queued, one of each channel and priority is read."""
    if settings.DELIVERY_PAUSED:
        return "SELECT NULL::timestamptz"
    columns = "SELECT channel, priority, send_at FROM campaigns_message WHERE workspace_id = w.id"
    first = "ORDER BY channel, priority DESC, send_at LIMIT 1"
    return f"""
        SELECT min(next.send_at) FROM workspaces_workspace w CROSS JOIN LATERAL (
            WITH RECURSIVE heads AS (
                ({columns} AND status = 'QUEUED' {first})
                UNION ALL
                SELECT next.* FROM heads h CROSS JOIN LATERAL (
                    ({columns} AND status = 'QUEUED' AND channel = h.channel AND priority < h.priority
                        ORDER BY priority DESC, send_at LIMIT 1)
                    UNION ALL
                    ({columns} AND status = 'QUEUED' AND channel > h.channel {first})
                    LIMIT 1
                ) next
            ) SELECT send_at FROM heads
        ) next
    """


def abandoned_messages() -> str:
    """When a message that a worker took and never told of is given up."""
    return f"""
        SELECT min(next.claimed_at) + interval '{settings.DELIVERY_CLAIM_SECONDS} s'
        FROM workspaces_workspace w CROSS JOIN LATERAL (
            SELECT claimed_at FROM campaigns_message WHERE workspace_id = w.id AND status = 'SENDING'
            ORDER BY claimed_at LIMIT 1
        ) next
    """


def upkeep() -> str:
    """When dates are left to plan, a version may be let go, or enrollments and messages are old enough to be counted."""
    return f"""
        SELECT LEAST(
            (SELECT min(date_backfill_since) FROM campaigns_campaignversion),
            (SELECT min(v.created_at) FROM campaigns_campaignversion v
                JOIN campaigns_campaign c ON c.id = v.campaign_id
                WHERE v.retired_at IS NULL AND c.version_id IS DISTINCT FROM v.id),
            (SELECT min(COALESCE(counted_until + interval '{2 * COUNTER_DELAY.total_seconds()} s', to_timestamp(0)))
                FROM campaigns_campaign WHERE version_id IS NOT NULL)
        )
    """
