"""Effects that go wrong on purpose."""

from django.db import connection

from events.processing.passes import EffectBatch


def fail_on_poison(batch: EffectBatch) -> None:
    """Break the transaction, as a real effect would, where the batch has a poisonous event."""
    if any(event.name == "poison" for event in batch.events):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'poison'::int")


def look(batch: EffectBatch) -> None:
    """Do nothing; tests put something here that looks."""
