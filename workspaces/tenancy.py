"""The base of models whose rows belong to a workspace."""

from django.db import models

from config import ids


class TenantModel(models.Model):
    """A row of a workspace, deleted with it."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    # No index of its own: every table has one that begins with the workspace.
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.CASCADE, related_name="+", db_index=False
    )

    class Meta:
        abstract = True
