"""Due times of campaigns' background work: SQL that selects a timestamp, for `settings.SCHEDULE`."""

from datetime import timedelta

from django.conf import settings

COUNTER_DELAY = timedelta(minutes=10)
"""Age at which enrollments and messages enter the counters: longer than any transaction takes."""
REHEARSAL_SILENCE = timedelta(minutes=1)
"""After which a running rehearsal is taken for dead, and begun again."""


def enrollments() -> str:
    """Return the SQL of when the next enrollment is due."""
    return """
        SELECT min(next.wake_at) FROM campaigns_campaign c CROSS JOIN LATERAL (
            SELECT wake_at FROM campaigns_enrollment
            WHERE workspace_id = c.workspace_id AND campaign_id = c.id AND status = 'open' AND wake_at IS NOT NULL
            ORDER BY wake_at LIMIT 1
        ) next WHERE c.status IN ('DRAFT', 'ACTIVE', 'COMPLETED')
    """


def broadcasts() -> str:
    """Return the SQL of when the next broadcast is due."""
    return """
        SELECT min(b.due_at) FROM campaigns_broadcast b JOIN campaigns_campaign c ON c.id = b.campaign_id
        WHERE b.finished_at IS NULL AND c.status = 'ACTIVE' AND c.parked_at IS NULL
    """


def messages() -> str:
    """Return the SQL of when the next message may be sent: it reads a row per channel and priority."""
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
    """Return the SQL of when a message claimed by a worker that died becomes unknown."""
    return f"""
        SELECT min(next.claimed_at) + interval '{settings.DELIVERY_CLAIM_SECONDS} s'
        FROM workspaces_workspace w CROSS JOIN LATERAL (
            SELECT claimed_at FROM campaigns_message WHERE workspace_id = w.id AND status = 'SENDING'
            ORDER BY claimed_at LIMIT 1
        ) next
    """


def old_versions_and_counters() -> str:
    """Return the SQL of when versions are to be retired or counters updated."""
    return f"""
        SELECT LEAST(
            (SELECT min(v.created_at) FROM campaigns_campaignversion v
                JOIN campaigns_campaign c ON c.id = v.campaign_id
                WHERE v.retired_at IS NULL AND c.active_version_id IS DISTINCT FROM v.id),
            (SELECT min(COALESCE(counted_until + interval '{2 * COUNTER_DELAY.total_seconds()} s', to_timestamp(0)))
                FROM campaigns_campaign WHERE active_version_id IS NOT NULL)
        )
    """


def unfinished_rehearsals() -> str:
    """Return the SQL of when a rehearsal is to run: one that is ordered, or whose process died."""
    silence = f"interval '{REHEARSAL_SILENCE.total_seconds()} s'"
    return f"""
        SELECT min(CASE status WHEN 'QUEUED' THEN created_at ELSE active_at + {silence} END)
        FROM campaigns_rehearsal WHERE status IN ('QUEUED', 'RUNNING')
    """
