"""What every event causes."""

from celery import shared_task
from django.db.models import F

from benchmarks.plain.models import PlainContact, PlainEvent


@shared_task
def score(event_id: str) -> None:
    event = PlainEvent.objects.get(id=event_id)
    if event.metadata.get("amount", 0) >= 50:
        PlainContact.objects.filter(id=event.contact_id).update(score=F("score") + 5)
