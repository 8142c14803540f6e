"""Rows of campaigns as what ran would have left them, made by the models alone."""

from typing import Any

from campaigns.models import Campaign, CampaignVersion, Decision, Message, Run, Template
from config import ids
from contacts.models import Contact
from workspaces.models import Workspace


def a_campaign_row(workspace: Workspace, name: str = "Welcome", **values: Any) -> Campaign:
    """Return a campaign with one version."""
    campaign = Campaign.objects.create(workspace=workspace, name=name, **values)
    campaign.version = CampaignVersion.objects.create(
        workspace=workspace, campaign=campaign, number=1, definition=campaign.draft
    )
    campaign.save(update_fields=["version"])
    return campaign


def a_run(campaign: Campaign, contact: Contact, **values: Any) -> Run:
    """Return a run, by default an open one."""
    return Run.objects.create(
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        version=campaign.version,
        contact=contact,
        **{"key": str(ids.uuid7()), **values},
    )


def a_decision(campaign: Campaign, contact: Contact, kind: str, reason: str = "", **values: Any) -> Decision:
    """Return a decision about a contact."""
    return Decision.objects.create(
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        contact=contact,
        kind=kind,
        reason=reason,
        **values,
    )


def a_message(contact: Contact, campaign: Campaign | None = None, **values: Any) -> Message:
    """Return a message, by default an e-mail in the queue."""
    defaults = {"channel": "email", "address": "jane@example.test", "subject": "Hello", "body": "<p>Hello"}
    return Message.objects.create(
        workspace_id=contact.workspace_id,
        campaign=campaign,
        contact=contact,
        **{"key": str(ids.uuid7()), **defaults, **values},
    )


def a_template_row(workspace: Workspace, name: str = "Hello", **values: Any) -> Template:
    """Return a template of an e-mail."""
    return Template.objects.create(
        workspace=workspace, name=name, **{"subject": "Hello", "body": "<p>Hello</p>", **values}
    )
