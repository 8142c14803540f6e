"""SQL for the times at which tasks of this app are due, for `settings.SCHEDULE`."""

from typing import Final

from django.conf import settings

IDLE_SECONDS: Final = 15
"""After which a backfill that nobody works on is taken up: its wake-up was lost."""


def expired_tokens() -> str:
    """Return SQL for the earliest expiry of a token family."""
    return "SELECT min(expires_at) FROM workspaces_tokenfamily"


def ended_sign_ins() -> str:
    """Return SQL for the earliest expiry of a browser session or OAuth token."""
    seconds = settings.OAUTH2_PROVIDER["REFRESH_TOKEN_EXPIRE_SECONDS"]
    return f"""
        SELECT min(over_at) FROM (
            SELECT min(expire_date) FROM django_session
            UNION ALL SELECT min(expires) FROM oauth2_provider_grant
            UNION ALL SELECT min(expires) FROM oauth2_provider_accesstoken access WHERE NOT EXISTS (
                SELECT FROM oauth2_provider_refreshtoken WHERE access_token_id = access.id
            )
            UNION ALL SELECT min(COALESCE(refresh.revoked, access.expires)) + interval '{seconds} s'
            FROM oauth2_provider_refreshtoken refresh
            LEFT JOIN oauth2_provider_accesstoken access ON access.id = refresh.access_token_id
        ) first (over_at)
    """


def old_jobs() -> str:
    """Return SQL for when the job that finished first is to go."""
    days = int(settings.BACKFILL_JOB_DAYS)
    return f"SELECT min(finished_at) + interval '{days} days' FROM workspaces_backfilljob"


def idle_backfills() -> str:
    """Return SQL for when a job has rested for too long."""
    oldest = (
        f"(SELECT min(progressed_at) FROM {table} WHERE finished_at IS NULL"
        # A command's job goes on when it is called again.
        + (f" AND kind = '{path}')" if table == "workspaces_backfilljob" else ")")
        for path, table in settings.BACKFILLS.items()
    )
    return f"SELECT LEAST({', '.join(oldest)}) + interval '{IDLE_SECONDS} s'"
