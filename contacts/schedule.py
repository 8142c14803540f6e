"""When the background has something to do for contacts; SQL of scalars, for `settings.SCHEDULE`."""


def unfinished_erasures() -> str:
    """Since when something of an erased person is left."""
    return "SELECT min(erased_at) FROM contacts_erasure WHERE finished_at IS NULL"


def unsettled_erasures() -> str:
    """Since when something may still come in of an erased person."""
    return "SELECT min(erased_at) FROM contacts_erasure WHERE settled_at IS NULL AND finished_at IS NOT NULL"
