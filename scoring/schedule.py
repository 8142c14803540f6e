"""SQL of when background work on scores is due, for `settings.SCHEDULE`."""

from datetime import timedelta

SILENCE = timedelta(seconds=60)
"""After which a re-scoring that makes no progress is taken up again."""


def silent_rescores() -> str:
    """Return the SQL of when a re-scoring without progress is to be taken up again."""
    return f"""
        SELECT min(rescore_seen_at) + interval '{SILENCE.total_seconds()} s' FROM scoring_scoringrule
        WHERE rescore_started_at IS NOT NULL AND rescored_at IS NULL
    """
