"""Rows of campaigns as what ran would have left them, made by the models alone."""

from itertools import count
from typing import Any
from uuid import UUID

from campaigns.models import (
    Campaign,
    CampaignSet,
    CampaignVersion,
    Decision,
    Enrollment,
    Form,
    FormSubmission,
    Message,
    Suppression,
    Template,
)
from config import ids
from contacts.models import Contact
from workspaces.models import Workspace

_places = count()


def next_id() -> UUID:
    """Return an id that comes after the one before, also within a millisecond."""
    return ids.uuid7(sequence=next(_places))


def a_campaign_row(workspace: Workspace, name: str = "Welcome", **values: Any) -> Campaign:
    """Return a campaign with one version."""
    campaign = Campaign.objects.create(id=next_id(), workspace=workspace, name=name, **values)
    campaign.active_version = CampaignVersion.objects.create(
        workspace=workspace, campaign=campaign, number=1, definition=campaign.draft
    )
    campaign.save(update_fields=["active_version"])
    return campaign


def an_enrollment(campaign: Campaign, contact: Contact, **values: Any) -> Enrollment:
    """Return an enrollment, by default an open one."""
    return Enrollment.objects.create(
        id=next_id(),
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        version=campaign.active_version,
        contact=contact,
        **{"key": str(ids.uuid7()), **values},
    )


def a_campaign_set(*campaigns: Campaign) -> CampaignSet:
    """Return several campaigns as what a decision may be about."""
    campaign_ids = sorted(campaign.id for campaign in campaigns)
    workspace_id = campaigns[0].workspace_id
    return CampaignSet.objects.create(id=next_id(), workspace_id=workspace_id, campaign_ids=campaign_ids)


def a_decision(
    about: Campaign | CampaignSet, contact: Contact, kind: str, reason: str = "", **values: Any
) -> Decision:
    """Return a decision about a contact, and a campaign or several."""
    return Decision.objects.create(
        id=next_id(),
        workspace_id=contact.workspace_id,
        **{"campaign_set" if isinstance(about, CampaignSet) else "campaign": about},
        contact=contact,
        kind=kind,
        reason=reason,
        **values,
    )


def a_message(contact: Contact, campaign: Campaign | None = None, **values: Any) -> Message:
    """Return a message, by default an e-mail in the queue."""
    defaults = {"channel": "email", "address": "jane@example.test", "subject": "Hello", "body": "<p>Hello"}
    return Message.objects.create(
        id=next_id(),
        workspace_id=contact.workspace_id,
        campaign=campaign,
        contact=contact,
        **{"key": str(ids.uuid7()), **defaults, **values},
    )


def a_template_row(workspace: Workspace, name: str = "Hello", **values: Any) -> Template:
    """Return a template of an e-mail."""
    values = {"subject": "Hello", "body": "<p>Hello</p>", **values}
    return Template.objects.create(id=next_id(), workspace=workspace, name=name, **values)


def a_form_row(workspace: Workspace, name: str = "News", **values: Any) -> Form:
    """Return a form."""
    return Form.objects.create(id=next_id(), workspace=workspace, name=name, **values)


def a_submission(form: Form, contact: Contact, **values: Any) -> FormSubmission:
    """Return what somebody sent."""
    return FormSubmission.objects.create(
        id=next_id(), workspace_id=form.workspace_id, form=form, contact=contact, **values
    )


def a_suppression(workspace: Workspace, address: str = "jane@example.test", **values: Any) -> Suppression:
    """Return an address to which nothing is sent."""
    return Suppression.objects.create(id=next_id(), workspace=workspace, address=address, **values)
