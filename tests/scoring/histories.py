"""Histories of events, and what the scores must be after them."""

from decimal import Decimal

from contacts.models import Contact, ContactScore
from contacts.references import ContactReference
from events.models import Event
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import RuleScore, ScoreEntry
from tests.scoring.reference import counting, value_of


def person(name):
    return ContactReference(identifiers=(("email", f"{name}@example.test"),), if_missing="create")


def send(workspace, *events, name="buy"):
    """Record events: (person, moment or None, properties)."""
    return record_events(
        workspace.id,
        [IncomingEvent(name, person(who), properties, occurred_at=at) for who, at, properties in events],
        schema_policy=SchemaPolicy.OPEN,
    )


def score_of(workspace, who):
    """Return the stored score, None if there is none."""
    contact = Contact.objects.get(
        workspace=workspace,
        identifiers__value=f"{who}@example.test",
    )
    return ContactScore.objects.filter(contact=contact).values_list("points", flat=True).first()


def expected_scores(workspace, rules, now, earns=lambda rule, event: True):
    """Return the scores by contact that the stream comes to; `earns` is each rule's condition, in Python."""
    scores = {}
    for rule in rules:
        for contact_id, awards in earned(workspace, rule, earns).items():
            scores[contact_id] = scores.get(contact_id, Decimal(0)) + value_of(rule, awards, now)
    return scores


def earned(workspace, rule, earns=lambda rule, event: True):
    awards = {}
    for event in Event.objects.filter(workspace=workspace, name=rule.event_name):
        if earns(rule, event):
            awards.setdefault(event.contact_id, []).append((event.occurred_at, event.id, rule.points))
    return awards


def stored_scores(workspace):
    return dict(ContactScore.objects.filter(workspace=workspace).values_list("contact_id", "points"))


def assert_marks_are_right(workspace, rules):
    """Hold the marks of the ledger against the limits."""
    for rule in rules:
        by_contact = {}
        for entry in ScoreEntry.objects.filter(workspace=workspace, rule=rule):
            by_contact.setdefault(entry.contact_id, []).append(entry)
        for entries in by_contact.values():
            kept = {
                event_id
                for _, event_id, _ in counting(
                    rule, [(entry.occurred_at, entry.event_id, entry.points) for entry in entries]
                )
            }
            assert {entry.event_id for entry in entries if not entry.is_superseded} == kept


def assert_only_ordered_rules_keep_a_state(workspace, rules):
    plain = [rule.id for rule in rules if rule.terms.are_plain]
    assert not RuleScore.objects.filter(workspace=workspace, rule_id__in=plain).exists()
