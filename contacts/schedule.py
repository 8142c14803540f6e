"""When tasks of contacts are due: SQL scalars for `settings.SCHEDULE`."""

from typing import Final

IDLE_SECONDS: Final = 15
"""After which an uploaded file that nobody works on is taken up: its worker was killed, or its wake-up lost."""


def unsettled_erasures() -> str:
    """Since when something may still come in of an erased person."""
    return "SELECT min(erased_at) FROM contacts_erasure WHERE settled_at IS NULL AND finished_at IS NOT NULL"


def idle_uploads() -> str:
    """Since when an uploaded file that is to be imported has rested for too long."""
    return f"""
        SELECT min(heard_at) + interval '{IDLE_SECONDS} s' FROM (
            SELECT max(updated_at) FROM contacts_import
            WHERE status IN ('queued', 'running') AND origin <> 'command' GROUP BY workspace_id
        ) waiting (heard_at)
    """
