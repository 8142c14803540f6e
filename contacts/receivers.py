"""Signal receivers: publish changes of contacts that are saved or deleted as models; reassign rows after merges."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_save, pre_delete, pre_save
from django.dispatch import receiver

from config.runtime.background import wake
from contacts.identity.lookup import find
from contacts.models import Contact, Merge
from contacts.profiles.state import ContactDraft, ContactState, changes_of, description_of
from contacts.signals import ContactChange, contacts_changed


@receiver(post_save, sender=Merge, dispatch_uid="contacts.run_reassignments")
def run_reassignments(instance: Merge, raw: bool = False, **_: Any) -> None:
    """Have what a merge or its undo leaves to the background moved after the commit; the sweep comes if need be."""
    if instance.cursor is not None and not raw:
        wake("workspaces.tasks.continue_backfill", "contacts.merging.reassignment.MERGES")


@receiver(pre_save, sender=Contact, dispatch_uid="contacts.capture_old_state")
def capture_old_state(sender: type[Contact], instance: Contact, raw: bool, **_: Any) -> None:
    """Keep what the row holds until it has been saved."""
    states = {} if raw or instance._state.adding else _states(instance)
    instance._saved_over = states.get(instance.id)  # type: ignore[attr-defined]  # ours, between two signals


@receiver(post_save, sender=Contact, dispatch_uid="contacts.publish_contact")
def publish_contact(sender: type[Contact], instance: Contact, raw: bool, **_: Any) -> None:
    """Send contacts_changed for a contact saved as a model."""
    if raw:
        return
    before: ContactState | None = instance.__dict__.pop("_saved_over", None)
    after = _states(instance).get(instance.id)
    if after is not None and (changes := list(changes_of(ContactDraft(instance.id, before, after)))):
        # Outside any transaction, Django sends post_save after its own is over.
        with transaction.atomic():
            contacts_changed.send(sender=Contact, workspace_id=instance.workspace_id, changes=changes)


@receiver(pre_delete, sender=Contact, dispatch_uid="contacts.publish_deletion")
def publish_deletion(sender: type[Contact], instance: Contact, **_: Any) -> None:
    """Send contacts_changed for a contact that is about to go, with all that was known of it."""
    state = _states(instance).get(instance.id)
    change = ContactChange(instance.id, "deleted", description_of(state) if state else {}, {})
    contacts_changed.send(sender=Contact, workspace_id=instance.workspace_id, changes=[change])


def _states(contact: Contact) -> dict[Any, ContactState]:
    return find(contact.workspace_id, [contact.id], with_states=True).states
