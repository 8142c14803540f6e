"""Campaigns, their runs, what was decided, messages and who may get them."""

from campaigns.models.campaigns import Broadcast, Campaign, CampaignVersion
from campaigns.models.forms import Form, FormSubmission, PendingConsent
from campaigns.models.messages import Message, SentEmail, Template
from campaigns.models.permission import ChannelSettings, Suppression
from campaigns.models.runs import CampaignSet, Decided, Decision, Run, RunState

__all__ = [
    "Broadcast",
    "Campaign",
    "CampaignSet",
    "CampaignVersion",
    "ChannelSettings",
    "Decided",
    "Decision",
    "Form",
    "FormSubmission",
    "Message",
    "PendingConsent",
    "Run",
    "RunState",
    "SentEmail",
    "Suppression",
    "Template",
]
