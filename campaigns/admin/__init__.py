"""Campaigns for staff: what they do, what they decided and why, what was sent, and who may be written to."""

from campaigns.admin import campaigns, enrollments, forms, inbox, messages, policy
from campaigns.admin.sections import (
    contact_campaigns_section,
    contact_messages_section,
    event_trace_section,
)

__all__ = [
    "campaigns",
    "contact_campaigns_section",
    "contact_messages_section",
    "enrollments",
    "event_trace_section",
    "forms",
    "inbox",
    "messages",
    "policy",
]
