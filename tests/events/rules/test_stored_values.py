"""What rules compare with fields of a contact is spelled as the store spells them, or refused when it is saved."""

import pytest

from config import clock
from contacts.crud import update_contact
from contacts.references import ContactChanges
from events.errors import InvalidCondition
from events.rules import compile_rules, parse_rule
from events.rules.parser import DeclaredTypes, declared_types
from tests.contacts.factories import a_contact
from tests.events.rules.reference import Person
from tests.events.rules.world import Stored, decide
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
SAVING = DeclaredTypes(are_known=True)


@pytest.fixture
def ann(db):
    workspace = WorkspaceFactory()
    contact = a_contact(
        workspace, "Ann@Straße.test", identifiers=(("phone", "0049 30 901820"), ("external_id", "A-1"))
    )
    return update_contact(workspace.id, contact, ContactChanges(first_name=" Ann "))


def holds(contact, field, operator, value):
    rule = parse_rule(
        {"type": "attribute", "field": field, "operator": operator, "value": value}, types=SAVING
    )
    stored = Stored(Person(), contact.id, None)
    (((decision),),) = decide(contact.workspace, [rule], [(stored, clock.now())])
    return decision.holds


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("email", "eq", "ANN@straße.TEST"),
        ("email", "eq", '"ann"@xn--strae-oqa.test.'),
        ("email", "in", ["bob@example.com", " Ann@Straße.test"]),
        ("email", "contains", "@Straße.Test"),
        ("email", "contains", "N@"),
        ("email", "contains", "@XN--strae"),
        ("email", "starts_with", "An\u200bn@"),
        ("email", "ends_with", "@STRAßE.test"),
        ("email", "ends_with", "straße.test."),
        ("email", "ends_with", ".TEST"),
        ("phone", "eq", "+49 (0)30 901820"),
        ("phone", "in", ["tel:+49-30-901820"]),
        ("phone", "starts_with", "0049"),
        ("phone", "starts_with", "+49 (0)30"),
        ("phone", "starts_with", "+"),
        ("phone", "contains", "90-18 20"),
        ("phone", "ends_with", "1820"),
        ("phone", "ends_with", "1820 ext. 5"),
        ("externalId", "eq", " A-1 "),
        ("firstName", "in", [" Ann"]),
    ],
)
def test_every_spelling_finds_the_contact(ann, field, operator, value):
    assert holds(ann, field, operator, value)
    if (negated := {"eq": "neq", "in": "not_in", "contains": "not_contains"}.get(operator)) is not None:
        assert not holds(ann, field, negated, value)


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("email", "eq", "ann@strasse.test"),
        ("email", "contains", "@strasse.test"),
        ("email", "ends_with", "@Example.com"),
        ("phone", "starts_with", "+1"),
        ("externalId", "eq", "a-1"),
    ],
)
def test_what_is_another_does_not(ann, field, operator, value):
    assert not holds(ann, field, operator, value)


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("email", "eq", "ann"),
        ("email", "in", ["ann@example.com", "<bob@example.com>"]),
        ("email", "not_in", ["a@b@c"]),
        ("email", "contains", "straße"),
        ("email", "contains", " "),
        ("email", "ends_with", "@☃.test"),
        ("email", "contains", "@example.com>"),
        ("email", "ends_with", "example.com>"),
        ("email", "contains", "@*.com"),
        ("phone", "eq", "none"),
        ("phone", "contains", "--"),
    ],
)
def test_what_nobody_can_have_is_refused_when_it_is_saved(field, operator, value):
    raw = {"type": "attribute", "field": field, "operator": operator, "value": value}
    with pytest.raises(InvalidCondition) as refusal:
        parse_rule({"operator": "AND", "conditions": [raw]}, types=SAVING)
    assert refusal.value.path == "conditions[0].value"
    # A rule that stands is read, so that what builds on it goes on.
    assert compile_rules([parse_rule(raw)])


def test_saving_knows_the_types(ann):
    assert declared_types(ann.workspace_id).are_known


def test_a_change_is_compared_as_it_is_told():
    raw = {"type": "property", "field": "properties.new.email", "operator": "eq", "value": "Ann@Straße.test"}
    (leaf,) = parse_rule(raw, about_event="contact.updated", types=SAVING).root.leaves()
    assert leaf.comparison.value == "ann@xn--strae-oqa.test"
    (leaf,) = parse_rule(raw, about_event="order").root.leaves()
    assert leaf.comparison.value == "Ann@Straße.test"


@pytest.mark.parametrize(
    ("event_name", "field", "stored"),
    [
        ("contact.subscribed", "properties.new.channel", "email"),
        ("contact.unsubscribed", "properties.channel", "email"),
        ("message.click", "metadata.channel", "email"),
        ("order", "metadata.channel", "EMAIL"),
    ],
)
def test_channels_that_the_system_tells_of_are_compared_as_it_tells_them(event_name, field, stored):
    raw = {"type": "property", "field": field, "operator": "in", "value": ["EMAIL"]}
    (leaf,) = parse_rule(raw, about_event=event_name, types=SAVING).root.leaves()
    assert leaf.comparison.value == (stored,)
