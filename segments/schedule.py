"""SQL of when background work on segments is due, for `settings.SCHEDULE`."""

IDLE_SECONDS = 30
"""After which work that stands still is taken up again: its message was lost."""


def idle_segments() -> str:
    """Return the SQL of when a build or publication without progress is to be taken up again."""
    return f"""
        SELECT min(progressed_at) + interval '{IDLE_SECONDS} s' FROM segments_segment
        WHERE build = 'running' OR publishing_since IS NOT NULL
    """
