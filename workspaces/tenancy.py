"""The bases of models whose rows belong to a workspace."""

from __future__ import annotations

from typing import Self, TypeVar
from uuid import UUID

from django.db import models

from config import ids
from config.db.fields import UnconstrainedForeignKey

_Row = TypeVar("_Row", bound=models.Model, covariant=True)


class TenantQuerySet(models.QuerySet[_Row]):
    """Rows of workspaces."""

    def in_workspace(self, workspace_id: UUID | models.OuterRef | None) -> Self:
        """Select the rows of one workspace; None, as where nothing is chosen yet, has none."""
        return self.filter(workspace_id=workspace_id)


class TenantModel(models.Model):
    """A row of a workspace, deleted with it."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    # No index of its own: every table has one that begins with the workspace.
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.CASCADE, related_name="+", db_index=False
    )

    objects = TenantQuerySet.as_manager()

    class Meta:
        abstract = True


class BulkTenantModel(models.Model):
    """A row of a workspace that the platform alone writes, in bulk; a deleted workspace leaves it behind.

    Where it is to go along, the model says so: `UnconstrainedForeignKey("workspaces.Workspace", models.CASCADE)`.
    """

    # Not a TenantModel: the types of a manager are lost from the second abstract base on.
    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    workspace = UnconstrainedForeignKey("workspaces.Workspace")

    objects = TenantQuerySet.as_manager()

    class Meta:
        abstract = True
