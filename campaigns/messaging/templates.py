"""Templates: look them up, save and delete them, check that they can be read. `rendering` fills them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from campaigns.errors import TemplateExists, TemplateFault, TemplateInUse, TemplateNotFound
from campaigns.messaging import liquid
from campaigns.messaging.rendering import KINDS
from campaigns.messaging.senders import SENDERS, sender_error
from campaigns.models import Campaign, Form, Template
from config import clock
from config.db.bulk import insert_rows, update_rows
from events.processing.passes import bump_rules_version

_WRITTEN: Final = ("name", "channel", "subject", "body", "text", "sender", "reply_to", "updated_at")


def get_template(workspace_id: UUID, template_id: UUID) -> Template:
    """Return a template. Raises TemplateNotFound."""
    template = Template.objects.in_workspace(workspace_id).filter(id=template_id).first()
    if template is None:
        raise TemplateNotFound
    return template


class TemplateEdits:
    """New and changed templates of a workspace, checked one by one and written together, in one transaction."""

    def __init__(self, workspace_id: UUID) -> None:
        self.workspace_id = workspace_id
        self._created: list[Template] = []
        self._changed: list[Template] = []

    def save(self, template: Template, **values: Any) -> Template:
        """Set values of a template, as `save_template` does."""
        for name, value in values.items():
            setattr(template, name, value)
        check_template(template)
        for field in SENDERS:
            if problem := sender_error(template.channel, getattr(template, field)):
                raise TemplateFault(f"{field}: {problem}")
        template.updated_at = clock.now()
        (self._created if template._state.adding else self._changed).append(template)
        return template

    def write(self) -> None:
        """Write what was created and changed. Raises TemplateExists."""
        standing = Template.objects.in_workspace(self.workspace_id)
        try:
            with transaction.atomic():
                insert_rows(self._created)
                update_rows(standing, self._changed, _WRITTEN)
        except IntegrityError as error:
            if "template_name_unique" not in str(error):
                raise
            raise TemplateExists from error


@transaction.atomic
def save_template(template: Template, **values: Any) -> Template:
    """Set values of a template and save it; enqueued messages stay as they were rendered.

    Raises TemplateExists, TemplateFault.
    """
    edits = TemplateEdits(template.workspace_id)
    edits.save(template, **values)
    edits.write()
    return template


@transaction.atomic
def delete_template(template: Template) -> None:
    """Delete a template that nothing sends. Raises TemplateInUse."""
    # No campaign that sends it is activated meanwhile.
    bump_rules_version(template.workspace_id)
    if users := users_of(template):
        raise TemplateInUse(users)
    template.delete()


def users_of(template: Template) -> list[str]:
    """Return the names of forms, and of campaigns that are not archived, that send a template."""
    sends = [{"data": {"templateId": str(template.pk)}}]
    is_sent = Q(draft__workflow__nodes__contains=sends) | Q(
        versions__retired_at=None, versions__definition__workflow__nodes__contains=sends
    )
    campaigns = Campaign.objects.in_workspace(template.workspace_id).filter(is_sent).distinct()
    campaigns = campaigns.exclude(status=Campaign.Status.ARCHIVED)
    forms = Form.objects.in_workspace(template.workspace_id).filter(confirmation_template=template)
    return sorted([*campaigns.values_list("name", flat=True), *forms.values_list("name", flat=True)])


def check_template(template: Template) -> None:
    """Check that a template can be read. Raises TemplateFault, which names the part."""
    parts: dict[str, tuple[str, liquid.Kind]] = {
        "subject": (template.subject, "text"),
        "text": (template.text, "text"),
        "body": (template.body, KINDS[template.channel]),
    }
    for name, (source, kind) in parts.items():
        try:
            liquid.parse(source, kind)
        except TemplateFault as error:
            raise TemplateFault(f"{name}: {error.message}") from error
