"""Remove deleted contacts from segments, and evaluate contacts again whose company was changed as a model."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from config import clock
from contacts.models import Company, CompanyMembership
from contacts.signals import ContactChange, contacts_changed
from segments import removal


@receiver(contacts_changed, dispatch_uid="segments.remove_deleted_contacts")
def remove_deleted_contacts(workspace_id: UUID, changes: Sequence[ContactChange], **_: Any) -> None:
    """Remove deleted contacts from every segment."""
    if gone := [change.contact_id for change in changes if change.kind == "deleted"]:
        removal.schedule_membership_removal(workspace_id, gone, now=clock.now())


@receiver(post_save, sender=CompanyMembership, dispatch_uid="segments.invalidate_company_member")
@receiver(post_delete, sender=CompanyMembership, dispatch_uid="segments.invalidate_former_company_member")
def invalidate_company_member(instance: CompanyMembership, **_: Any) -> None:
    """Schedule an evaluation of a contact whose company was set or removed by model save."""
    removal.schedule_evaluation(instance.workspace_id, [instance.contact_id])


@receiver(post_save, sender=Company, dispatch_uid="segments.invalidate_company")
def invalidate_company(instance: Company, created: bool, **_: Any) -> None:
    """Schedule an evaluation of a changed company's contacts."""
    if not created:
        memberships = CompanyMembership.objects.in_workspace(instance.workspace_id).filter(
            company_id=instance.id
        )
        removal.schedule_evaluation(
            instance.workspace_id, list(memberships.values_list("contact_id", flat=True))
        )
