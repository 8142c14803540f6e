"""Gauges that apps read from the database; `settings.METRICS` lists them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseGauge:
    """A gauge read by SQL, whose rows are the label's value (NULL: no label) and the number."""

    name: str
    documentation: str
    sql: str
    label: str = ""
