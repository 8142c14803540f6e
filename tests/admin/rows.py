"""Rows for the admin's tests, each with the least data; made by the models alone."""

import hashlib
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from campaigns.models import (
    Broadcast,
    Campaign,
    CampaignSet,
    CampaignVersion,
    ChannelSettings,
    Decision,
    Enrollment,
    Form,
    FormSubmission,
    Message,
    PendingConsent,
    SentEmail,
    Suppression,
    Template,
)
from config import clock
from config.ids import uuid7
from contacts.models import (
    Company,
    CompanyMembership,
    Consent,
    Contact,
    ContactScore,
    ContactTag,
    Field,
    Identifier,
    Import,
    Merge,
    RefusedRow,
    Tag,
)
from events.models import (
    Event,
    EventBatch,
    EventDefinition,
    EventProperty,
    IdempotencyKey,
    Lease,
    MessageKey,
    ParkedEffect,
    RulesVersion,
)
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from segments.models import Membership, MembershipPeriod, Segment
from workspaces.models import BackfillJob, Workspace


def fill(workspace: Workspace, count: int) -> SimpleNamespace:
    """Make `count` rows of every model in `workspace`, without signals or effects."""
    contacts = _bulk(
        Contact, count, lambda n: {"workspace": workspace, "first_name": "Ada", "last_name": f"L{n}"}
    )
    tags = _bulk(Tag, count, lambda n: {"workspace": workspace, "name": f"tag {n}"})
    companies = _bulk(
        Company, count, lambda n: {"workspace": workspace, "name": f"Mill {n}", "name_key": f"mill {n}"}
    )
    of_contact = [{"workspace": workspace, "contact": contact} for contact in contacts]
    _bulk(
        Identifier,
        count,
        lambda n: {**of_contact[n], "kind": "email", "value": f"a{n}@example.com", "is_primary": True},
    )
    _bulk(Consent, count, lambda n: {**of_contact[n], "channel": "email", "status": "opted_in"})
    _bulk(ContactTag, count, lambda n: {**of_contact[n], "tag": tags[n]})
    _bulk(CompanyMembership, count, lambda n: {**of_contact[n], "company": companies[n]})
    _bulk(
        Merge,
        count,
        lambda n: {
            "workspace": workspace,
            "survivor": contacts[n],
            "merged": contacts[n - 1],
            "undone_at": clock.now(),
            "finished_at": clock.now(),
        },
    )
    imports = _bulk(Import, count, lambda n: {"workspace": workspace, "kind": "events", "name": f"{n}.csv"})
    _bulk(
        RefusedRow,
        count,
        lambda n: {"workspace": workspace, "run": imports[n], "line": n, "cause": "no", "content": "{}"},
    )
    _bulk(
        BackfillJob, count, lambda n: {"workspace": workspace, "kind": "rescore_contacts", "subject": str(n)}
    )
    _bulk(ContactScore, count, lambda n: {**of_contact[n], "points": 5})
    _bulk(Field, count, lambda n: {"workspace": workspace, "name": f"f{n}", "type": "text"})
    definitions = _bulk(EventDefinition, count, lambda n: {"workspace": workspace, "name": f"e{n}"})
    _bulk(
        EventProperty,
        count,
        lambda n: {"workspace": workspace, "definition": definitions[n], "name": "amount", "type": "number"},
    )
    events = _bulk(Event, count, lambda n: {**of_contact[n], "name": f"e{n}", "properties": {"amount": n}})
    work = {"workspace": workspace, "event_ids": [event.id for event in events]}
    _bulk(EventBatch, count, lambda n: {**work, "lane": n % 16})
    _bulk(ParkedEffect, count, lambda n: {**work, "effect": "x.y", "subject": f"rule:{n}", "error": "no"})
    _bulk(
        IdempotencyKey,
        count,
        lambda n: {
            "workspace": workspace,
            "key": f"key {n}",
            "request_hash": hashlib.sha256(b"").digest(),
            "body": b"{}",
        },
    )
    _bulk(MessageKey, count, lambda n: {"workspace": workspace, "key": f"m{n}", "event_id": events[n].id})
    RulesVersion.objects.get_or_create(workspace=workspace)
    _bulk(Lease, count, lambda n: {"workspace": workspace, "task": f"t{n}", "expires_at": clock.now()})
    rules = _bulk(
        ScoringRule,
        count,
        lambda n: {"workspace": workspace, "name": f"r{n}", "event_name": f"e{n}", "points": 5},
    )
    _bulk(
        ScoreEntry,
        count,
        lambda n: {
            **of_contact[n],
            "rule": rules[n],
            "event_id": events[n].id,
            "points": 5,
            "occurred_at": clock.now(),
        },
    )
    segments = _bulk(
        Segment,
        count,
        lambda n: {
            "workspace": workspace,
            "name": f"s{n}",
            "rule": {"type": "tag", "value": f"tag {n}"},
            "published_at": clock.now(),
        },
    )
    in_segment = [{**of_contact[n], "segment": segments[n]} for n in range(count)]
    _bulk(
        Membership,
        count,
        lambda n: {**in_segment[n], "version": segments[n].version, "since": clock.now()},
    )
    _bulk(MembershipPeriod, count, lambda n: {**in_segment[n], "entered_at": clock.now()})
    _bulk(
        RuleScore,
        count,
        lambda n: {
            **of_contact[n],
            "rule": rules[n],
            "value": 5,
            "included": 5,
            "last_at": clock.now(),
            "last_event_id": events[n].id,
        },
    )
    _fill_campaigns(workspace, count, of_contact, events)
    return SimpleNamespace(contacts=contacts, tags=tags, companies=companies, events=events, rules=rules)


def _fill_campaigns(workspace: Workspace, count: int, of_contact: Any, events: Any) -> None:
    campaigns = _bulk(Campaign, count, lambda n: {"workspace": workspace, "name": f"c{n}"})
    of_campaign = [{"workspace": workspace, "campaign": campaign} for campaign in campaigns]
    versions = _bulk(CampaignVersion, count, lambda n: {**of_campaign[n], "number": 1, "definition": {}})
    _bulk(Broadcast, count, lambda n: {**of_campaign[n], "contact_ids": [], "due_at": clock.now()})
    both = [{**of_contact[n], **of_campaign[n], "event_id": events[n].id} for n in range(count)]
    enrollments = _bulk(Enrollment, count, lambda n: {**both[n], "version": versions[n], "key": f"k{n}"})
    sent = _bulk(
        Message,
        count,
        lambda n: {
            **both[n],
            "enrollment_id": enrollments[n].id,
            "key": f"k{n}",
            "channel": "email",
            "address": f"a{n}@b.test",
        },
    )
    _bulk(
        CampaignSet,
        count,
        lambda n: {"id": uuid7(), "workspace": workspace, "campaign_ids": [campaigns[n].id]},
    )
    _bulk(
        Decision,
        count,
        lambda n: {**both[n], "kind": "sent", "enrollment_id": enrollments[n].id, "message_id": sent[n].id},
    )
    _bulk(SentEmail, count, lambda n: {"workspace_id": workspace.id, "subject": f"s{n}", "source": b"x"})
    _bulk(Template, count, lambda n: {"workspace": workspace, "name": f"t{n}", "body": "x"})
    ChannelSettings.objects.get_or_create(workspace=workspace, channel="email")
    _bulk(Suppression, count, lambda n: {"workspace": workspace, "address": f"a{n}@b.test"})
    forms = _bulk(Form, count, lambda n: {"workspace": workspace, "name": f"f{n}"})
    _bulk(FormSubmission, count, lambda n: {**of_contact[n], "form": forms[n], "event_id": events[n].id})
    _bulk(PendingConsent, count, lambda n: {**of_contact[n], "channel": "email"})


def lines(workspace: Workspace, contact: Contact, rule: ScoringRule, count: int) -> list[Event]:
    """Give `contact` that many events, each with a line of its ledger."""
    start = clock.now() - timedelta(hours=1)
    events = [
        Event(
            id=uuid7(start + timedelta(seconds=n)),
            workspace=workspace,
            contact=contact,
            name="paid",
            occurred_at=start + timedelta(seconds=n),
        )
        for n in range(count)
    ]
    Event.objects.bulk_create(events)
    ScoreEntry.objects.bulk_create(
        ScoreEntry(
            workspace=workspace,
            contact=contact,
            rule=rule,
            event_id=event.id,
            points=7,
            occurred_at=event.occurred_at,
        )
        for event in events
    )
    return events


def _bulk(model: Any, count: int, values: Any) -> Any:
    return model.objects.bulk_create(model(**values(n)) for n in range(count))
