"""A ModelViewSet, ORM saves, one Celery task an event."""

import hashlib

from django.contrib.auth.models import AnonymousUser
from django.db.models.signals import post_save
from django.dispatch import receiver
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.serializers import ModelSerializer
from rest_framework.viewsets import ModelViewSet

from benchmarks.plain.models import PlainEvent, PlainKey
from benchmarks.plain.tasks import score


class Authenticated(AnonymousUser):
    is_authenticated = True


class KeyAuthentication(BaseAuthentication):
    def authenticate(self, request):
        secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
        key = PlainKey.objects.filter(key_hash=hashlib.sha256(secret.encode()).hexdigest()).first()
        return (Authenticated(), key) if key else None


class PlainEventSerializer(ModelSerializer):
    class Meta:
        model = PlainEvent
        fields = ["id", "contact", "type", "metadata", "created_at"]


class PlainEventViewSet(ModelViewSet):
    queryset = PlainEvent.objects.all()
    serializer_class = PlainEventSerializer
    authentication_classes = [KeyAuthentication]
    permission_classes = [IsAuthenticated]

    def perform_create(self, serializer):
        serializer.save(workspace_id=self.request.auth.workspace_id)


@receiver(post_save, sender=PlainEvent)
def send_task(instance, created, **kwargs):
    if created:
        score.delay(str(instance.id))
