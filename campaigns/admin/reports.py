"""A campaign's report and an event's trace as tables of the admin."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.admin.base import campaign_links
from campaigns.admin.enrollments import reason_of
from campaigns.models import Decision, Enrollment, Message
from campaigns.reporting.report import CampaignReport
from campaigns.reporting.trace import Trace
from config.http.rendering import dumps
from contacts.models import Contact
from events.admin import event_link
from events.models import Event, ParkedEffect
from scoring.models import ScoreEntry
from workspaces.staff.columns import utc
from workspaces.staff.links import link

Section = dict[str, Any]


def report_sections(report: CampaignReport) -> list[Section]:
    """Return the tables of a campaign's report."""
    return [
        _section(
            "Enrollments",
            ["Status", "Enrollments"],
            [[status, f"{count:,}"] for status, count in report.enrollments.items()],
        ),
        _reasons("How they ended", report.ended),
        _reasons("Who did not enter, and why", report.not_entered),
        _section(
            "Messages",
            ["Channel", "Status", "Messages"],
            [
                [channel, status.lower(), f"{count:,}"]
                for channel, counts in report.messages.items()
                for status, count in {
                    **counts.by_status,
                    "ever opened": counts.opened,
                    "ever clicked": counts.clicked,
                }.items()
            ],
        ),
        _reasons("Not sent, and why", report.not_sent),
        _reasons("Deferred, and why", report.deferred),
        _section(
            "By step",
            ["Step", "Decided", "Why", "Way", "Times"],
            [
                [
                    row.step,
                    row.kind.replace("_", " "),
                    row.reason.replace("_", " "),
                    row.handle,
                    f"{row.count:,}",
                ]
                for row in report.steps
            ],
        ),
    ]


def trace_lead(trace: Trace, *, names_contact: bool) -> SafeString:
    """Return the sentences above a trace: the event, its contact, its definition and how far its effects are."""
    contact = "nobody"
    if trace.contact_id is not None:
        person = Contact.objects.filter(pk=trace.contact_id).first() if names_contact else None
        contact = link("contacts_contact_change", trace.contact_id, person or trace.contact_id)
    problems = "; ".join(f"{name} is {fault}" for name, fault in trace.schema.problems.items())
    return format_html(
        "{} of {} UTC, received {} UTC, about {} ({}). Its definition: {}. Its effects: {}.",
        event_link(trace.event),
        utc(trace.event.occurred_at),
        utc(trace.event.received_at),
        contact,
        trace.resolved.value,
        problems or ("fits" if trace.schema.definition_id else "none"),
        trace.state.value,
    )


def trace_sections(trace: Trace) -> list[tuple[type[Model], Section]]:
    """Return the tables of a trace, each with the model that a user must be allowed to see."""
    return [
        (ParkedEffect, _parked(trace)),
        (ScoreEntry, _scores(trace)),
        (Event, _derived_events(trace)),
        (Decision, _decisions(trace)),
        (Enrollment, _enrollments(trace)),
        (Message, _messages(trace)),
    ]


def _parked(trace: Trace) -> Section:
    rows = [[utc(row.created_at), row.effect, row.subject, row.error[:200]] for row in trace.parked]
    return _section("Parked", ["When (UTC)", "Effect", "Culprit", "Error"], rows)


def _scores(trace: Trace) -> Section:
    rows = [
        [
            utc(entry.created_at),
            rule,
            f"{entry.points.normalize():+f}",
            "past the limit" if entry.is_superseded else "",
        ]
        for entry, rule in trace.scores
    ]
    return _section("Scores", ["When (UTC)", "Rule", "Points", ""], rows)


def _derived_events(trace: Trace) -> Section:
    rows = [
        [utc(event.occurred_at), event_link(event), dumps(event.properties).decode()[:200]]
        for event in trace.derived_events
    ]
    return _section("Events that followed", ["When (UTC)", "Event", "Properties"], rows)


def _decisions(trace: Trace) -> Section:
    rows = [
        [
            utc(decision.decided_at),
            campaign_links({pk: trace.campaigns.get(pk, str(pk)) for pk in decision.campaign_ids}),
            decision.get_kind_display(),
            reason_of(decision),
            decision.step,
        ]
        for decision in trace.decisions
    ]
    return _section("Decided", ["When (UTC)", "Campaign", "What", "Why", "Step"], rows)


def _enrollments(trace: Trace) -> Section:
    campaigns = {pk: link("campaigns_campaign_change", pk, name) for pk, name in trace.campaigns.items()}
    rows = [
        [
            utc(enrollment.started_at),
            campaigns.get(enrollment.campaign_id, ""),
            link("campaigns_enrollment_change", enrollment.pk, enrollment.status),
            enrollment.end_reason,
        ]
        for enrollment in trace.enrollments
    ]
    return _section("Enrollments", ["Started (UTC)", "Campaign", "Enrollment", "How it ended"], rows)


def _messages(trace: Trace) -> Section:
    rows = [
        [
            utc(message.created_at),
            link("campaigns_message_change", message.pk, message),
            message.get_status_display(),
            utc(message.sent_at),
        ]
        for message in trace.messages
    ]
    return _section("Messages", ["Made (UTC)", "Message", "Status", "Sent (UTC)"], rows)


def _reasons(title: str, counts: dict[str, int]) -> Section:
    rows = [[reason.replace("_", " "), f"{count:,}"] for reason, count in sorted(counts.items())]
    return _section(title, ["Why", "Times"], rows)


def _section(title: str, headers: list[str], rows: list[list[Any]]) -> Section:
    return {"title": title, "table": {"headers": headers, "rows": rows}, "nothing": "Nothing."}
