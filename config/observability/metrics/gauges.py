"""What an app tells of the database's state: lists of these are in `settings.METRICS`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseGauge:
    """A figure that the database has. `sql` makes rows of its label's value (NULL: it has none) and its number."""

    name: str
    documentation: str
    sql: str
    label: str = ""
