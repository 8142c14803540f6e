"""Contacts come into segments and go out of them, whatever it is that changes the answer."""

import pytest

from contacts.companies import link_companies
from contacts.crud import delete_contact, set_consent, untag_contact, update_contact
from contacts.models import Company, CompanyMembership
from contacts.references import ContactChanges
from events.models import Event
from events.processing.passes import apply_effects
from scoring.models import ScoringRule
from segments.models import Membership, MembershipPeriod
from tests.contacts.factories import a_contact, tag_contact
from tests.segments.factories import (
    a_segment,
    attribute,
    did,
    every,
    in_segment,
    none_of,
    send,
    stays,
    tell,
    told,
    who_is_in,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_event_lets_its_contact_in_and_tells_of_it_once(workspace, jane):
    a_contact(workspace, "john@example.test")
    buyers = a_segment(workspace, did("buy", operator="gte", value=2))
    send(workspace, jane, "buy")
    assert who_is_in(buyers) == set()
    send(workspace, jane, "buy")
    send(workspace, jane, "buy")
    assert who_is_in(buyers) == {jane.id}
    assert told(buyers, jane) == ["segment.entered"]
    assert [left for _, left in stays(buyers, jane)] == [None]


def test_the_event_that_tells_of_it_names_its_cause(workspace, jane):
    buyers = a_segment(workspace, did("buy"))
    send(workspace, jane, "look", "buy", "leave")
    entered = Event.objects.get(workspace=workspace, name="segment.entered")
    cause = Event.objects.get(workspace=workspace, name="buy")
    assert (entered.cause_id, entered.depth, entered.source) == (cause.id, 1, "system")
    assert entered.properties == {"segmentId": str(buyers.id), "segmentName": buyers.name}


def test_filters_decide_which_events_touch_a_segment(workspace, jane):
    dear = a_segment(
        workspace,
        did("buy", filters=[{"field": "properties.price", "operator": "gt", "value": 100}]),
    )
    send(workspace, jane, "buy", price=100)
    assert who_is_in(dear) == set()
    send(workspace, jane, "buy", price=101)
    assert who_is_in(dear) == {jane.id}


def test_filters_by_1_and_by_true_differ(workspace, jane):
    numbers = a_segment(
        workspace, did("set", filters=[{"field": "properties.to", "operator": "eq", "value": 1}])
    )
    truths = a_segment(
        workspace, did("set", filters=[{"field": "properties.to", "operator": "eq", "value": True}])
    )
    send(workspace, jane, "set", to=True)
    assert (who_is_in(numbers), who_is_in(truths)) == (set(), {jane.id})
    send(workspace, jane, "set", to=1)
    assert (who_is_in(numbers), who_is_in(truths)) == ({jane.id}, {jane.id})


def test_a_new_contact_is_held_against_every_rule(workspace):
    strangers = a_segment(workspace, none_of(did("buy")))
    jane = a_contact(workspace, "jane@example.test")
    apply_effects(workspace.id)
    assert who_is_in(strangers) == {jane.id}
    send(workspace, jane, "buy")
    assert who_is_in(strangers) == set()
    assert told(strangers, jane) == ["segment.entered", "segment.exited"]


def test_attributes(workspace, jane):
    locals_ = a_segment(workspace, attribute("attributes.city", "eq", "Bern"))
    update_contact(workspace.id, jane, ContactChanges(attributes={"city": "Bern"}))
    apply_effects(workspace.id)
    assert who_is_in(locals_) == {jane.id}
    update_contact(workspace.id, jane, ContactChanges(attributes={"city": "Biel"}))
    apply_effects(workspace.id)
    assert who_is_in(locals_) == set()


def test_tags(workspace, jane):
    tagged = a_segment(workspace, {"type": "tag", "value": "vip"})
    tag_contact(workspace.id, jane, "vip")
    apply_effects(workspace.id)
    assert who_is_in(tagged) == {jane.id}
    untag_contact(workspace.id, jane, "vip")
    apply_effects(workspace.id)
    assert who_is_in(tagged) == set()


def test_consents(workspace, jane):
    readers = a_segment(workspace, {"type": "channel", "channel": "EMAIL", "status": "OPTED_IN"})
    set_consent(workspace.id, jane, "email", "opted_in")
    apply_effects(workspace.id)
    assert who_is_in(readers) == {jane.id}
    set_consent(workspace.id, jane, "email", "opted_out")
    apply_effects(workspace.id)
    assert who_is_in(readers) == set()


def test_companies(workspace, jane):
    employed = a_segment(workspace, {"type": "company", "field": "industry", "operator": "eq", "value": "IT"})
    company = Company.objects.create(workspace=workspace, name="Acme")
    link = CompanyMembership.objects.create(workspace=workspace, contact=jane, company=company)
    apply_effects(workspace.id)
    assert who_is_in(employed) == set()
    company.industry = "IT"
    company.save()
    apply_effects(workspace.id)
    assert who_is_in(employed) == {jane.id}
    link.delete()
    apply_effects(workspace.id)
    assert who_is_in(employed) == set()


def test_a_company_that_an_event_brings(workspace, jane):
    employed = a_segment(workspace, {"type": "company", "operator": "exists"})
    company = Company.objects.create(workspace=workspace, name="Acme")
    link_companies(workspace.id, [(jane.id, company.id)])
    link_companies(workspace.id, [(jane.id, company.id)])
    apply_effects(workspace.id)
    assert who_is_in(employed) == {jane.id}
    assert Event.objects.filter(workspace=workspace, name="contact.updated").count() == 1


def test_scores(workspace, jane):
    ScoringRule.objects.create(workspace=workspace, name="look", event_name="look", points=5)
    hot = a_segment(workspace, attribute("score", "gte", 10))
    send(workspace, jane, "look")
    assert who_is_in(hot) == set()
    send(workspace, jane, "look")
    assert who_is_in(hot) == {jane.id}


def test_other_segments_in_the_same_run(workspace, jane):
    buyers = a_segment(workspace, did("buy"))
    loyal = a_segment(workspace, every(in_segment(buyers), did("return", operator="eq", value=0)))
    strangers = a_segment(workspace, in_segment(loyal, "not_in"))
    assert who_is_in(strangers) == {jane.id}
    tell(workspace, jane, "buy")
    apply_effects(workspace.id)
    assert (who_is_in(loyal), who_is_in(strangers)) == ({jane.id}, set())
    send(workspace, jane, "return")
    assert (who_is_in(loyal), who_is_in(strangers)) == (set(), {jane.id})


def test_loops_of_rules_on_entries_are_cut(workspace, jane):
    send(workspace, jane, "start")
    even = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    odd = [one + 1 for one in even]
    a_segment(workspace, every(did("start"), did("segment.entered", operator="in", value=even)))
    a_segment(workspace, did("segment.exited", operator="in", value=odd))
    apply_effects(workspace.id)
    told_of = Event.objects.filter(workspace=workspace, name__startswith="segment.")
    assert 10 <= told_of.count() <= 40
    assert told_of.filter(properties__loopCut=True).exists()
    assert max(told_of.values_list("depth", flat=True)) == 11


def test_a_deleted_contact_leaves_every_segment(workspace, jane):
    strangers = a_segment(workspace, none_of(did("buy", timeWindow="7d")))
    buyers = a_segment(workspace, did("buy", timeWindow="7d"))
    apply_effects(workspace.id)
    send(workspace, jane, "buy")
    assert who_is_in(buyers) == {jane.id}
    delete_contact(workspace.id, jane)
    apply_effects(workspace.id)
    assert not Membership.objects.filter(workspace=workspace).exists()
    assert not MembershipPeriod.objects.filter(workspace=workspace, left_at=None).exists()
    assert told(buyers, jane) == ["segment.entered", "segment.exited"]
    assert who_is_in(strangers) == set()


def test_many_contacts_and_segments_in_one_batch(workspace):
    people = [a_contact(workspace, f"person{number}@example.test") for number in range(30)]
    segments = [a_segment(workspace, did("buy", operator="gte", value=number + 1)) for number in range(8)]
    segments += [
        a_segment(
            workspace,
            did("buy", filters=[{"field": "properties.item", "operator": "eq", "value": number}]),
        )
        for number in range(8)
    ]
    apply_effects(workspace.id)
    for place, person in enumerate(people):
        for item in range(place % 9):
            tell(workspace, person, "buy", item=item)
    apply_effects(workspace.id)
    for number in range(8):
        expected = {person.id for place, person in enumerate(people) if place % 9 > number}
        assert who_is_in(segments[number]) == expected
        assert who_is_in(segments[8 + number]) == expected
