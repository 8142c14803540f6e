"""What a first version of such a system has: tables, and a task for every event."""

import uuid

from django.db import models


class PlainKey(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    key_hash = models.CharField(max_length=64, unique=True)
    workspace_id = models.UUIDField()


class PlainContact(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    workspace_id = models.UUIDField(db_index=True)
    email = models.EmailField()
    score = models.IntegerField(default=0)


class PlainEvent(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    workspace_id = models.UUIDField(db_index=True)
    contact = models.ForeignKey(PlainContact, on_delete=models.CASCADE)
    type = models.CharField(max_length=255, db_index=True)
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
