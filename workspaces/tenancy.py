"""What every row of a workspace has in common."""

from django.db import models

from config import ids


class TenantModel(models.Model):
    """A row that belongs to one workspace and goes with it."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    # No index of its own: every table has one that begins with the workspace.
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.CASCADE, related_name="+", db_index=False
    )

    class Meta:
        abstract = True
