"""Models of campaigns, enrollments, decisions, messages, forms and sending policy."""

from campaigns.models.campaigns import Broadcast, Campaign, CampaignVersion
from campaigns.models.enrollments import CampaignSet, Decision, Enrollment, EnrollmentState, NewDecision
from campaigns.models.forms import Form, FormSubmission, PendingConsent
from campaigns.models.messages import Message, SentEmail, Template
from campaigns.models.policy import ChannelSettings, Suppression
from campaigns.models.rehearsals import Rehearsal, RehearsedEnrollment

__all__ = [
    "Broadcast",
    "Campaign",
    "CampaignSet",
    "CampaignVersion",
    "ChannelSettings",
    "Decision",
    "Enrollment",
    "EnrollmentState",
    "Form",
    "FormSubmission",
    "Message",
    "NewDecision",
    "PendingConsent",
    "Rehearsal",
    "RehearsedEnrollment",
    "SentEmail",
    "Suppression",
    "Template",
]
