"""When tasks of contacts are due: SQL scalars for `settings.SCHEDULE`."""


def unsettled_erasures() -> str:
    """Since when something may still come in of an erased person."""
    return "SELECT min(erased_at) FROM contacts_erasure WHERE settled_at IS NULL AND finished_at IS NOT NULL"
