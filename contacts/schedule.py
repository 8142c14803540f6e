"""When tasks of contacts are due: SQL scalars for `settings.SCHEDULE`."""

from typing import Final

MERGE_IDLE_SECONDS: Final = 15
"""After which a merge that nobody works on is taken on."""


def unfinished_erasures() -> str:
    """Since when something of an erased person is left."""
    return "SELECT min(erased_at) FROM contacts_erasure WHERE finished_at IS NULL"


def unfinished_merges() -> str:
    """When to look at the merge that nobody has worked on for longest."""
    return (
        f"SELECT min(progressed_at) + interval '{MERGE_IDLE_SECONDS} seconds' FROM contacts_merge"
        " WHERE unfinished IS NOT NULL"
    )


def unsettled_erasures() -> str:
    """Since when something may still come in of an erased person."""
    return "SELECT min(erased_at) FROM contacts_erasure WHERE settled_at IS NULL AND finished_at IS NOT NULL"
