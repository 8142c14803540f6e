"""Preview of a template: what a contact would get, without a message."""

from __future__ import annotations

from uuid import UUID

from campaigns.messaging.policy import settings_of
from campaigns.messaging.public_links import token_of_test
from campaigns.messaging.recipients import load_recipients
from campaigns.messaging.rendering import Rendered, region_of, render_template, scores_of, values_of
from campaigns.messaging.templates import check_template
from campaigns.models import Campaign, Template
from contacts.errors import ContactNotFound
from events.models import Event


def preview_template(
    workspace_id: UUID,
    template: Template,
    contact_id: UUID,
    *,
    event: Event | None = None,
    campaign: Campaign | None = None,
) -> Rendered:
    """Render a template, saved or not, for a contact, by what renders messages.

    The links in it are as in a test: they act on nobody. Raises ContactNotFound, TemplateFault, ValueMissing.
    """
    check_template(template)
    recipient = load_recipients(workspace_id, [contact_id]).get(contact_id)
    if recipient is None:
        raise ContactNotFound
    token = token_of_test(workspace_id, template.channel)
    score = scores_of(workspace_id, [recipient.id]).get(recipient.id, 0.0)
    values = values_of(recipient, score=score, event=event, campaign=campaign, token=token, is_test=True)
    region = region_of(recipient, settings_of(workspace_id, template.channel))
    return render_template(template, values, region)
