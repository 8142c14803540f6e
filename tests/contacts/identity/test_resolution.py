import uuid
from datetime import UTC, datetime

import pytest
from django.db import transaction

from contacts.crud import get_contact
from contacts.errors import ContactNotFound, InvalidFieldValue, InvalidIdentifier, NoIdentity
from contacts.identity.resolution import resolve_contacts
from contacts.merging.merges import merge_contacts
from contacts.models import Consent, Contact, Identifier
from contacts.profiles.fields import create_field
from contacts.queries import with_details
from contacts.references import ContactChanges, ContactReference, PastConsent, Resolution
from tests.contacts.factories import a_contact, by_email, identifier_values, resolved, set_identity_field
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


def error_of(workspace, reference):
    (result,) = resolve_contacts(workspace.id, [reference])
    return result


def test_an_id_finds_its_contact_in_one_statement(workspace, django_assert_num_queries):
    contact = a_contact(workspace)
    with django_assert_num_queries(1):
        (result,) = resolved(workspace.id, ContactReference(id=str(contact.id)))
    assert result == Resolution(contact.id, created=False)


@pytest.mark.parametrize("if_missing", ["refuse", "create"])
def test_an_identifier_finds_its_contact_in_one_statement(workspace, if_missing, django_assert_num_queries):
    contact = a_contact(workspace, "jane@example.test")
    changes = ContactChanges(first_name="New", attributes={"plan": "pro"})
    with django_assert_num_queries(1):
        (result,) = resolved(
            workspace.id, by_email(" JANE@example.test", if_missing=if_missing, changes=changes)
        )
    assert result == Resolution(contact.id, created=False)
    assert get_contact(workspace.id, contact.id).first_name == ""


@pytest.mark.parametrize(
    "text",
    ["nobody", "", "x" * 10_000, "\x00", "01234567-89ab-7def-8123-456789abcdef", "0" * 32],
)
def test_an_id_that_is_none_is_not_found(workspace, text):
    reference = ContactReference(
        id=text or "-", identifiers=(("email", "a@example.test"),), if_missing="create"
    )
    assert isinstance(error_of(workspace, reference), ContactNotFound)
    assert not Contact.objects.exists()


def test_a_contact_of_another_workspace_is_not_found(workspace):
    foreign = a_contact(WorkspaceFactory.create(), "jane@example.test")
    assert isinstance(error_of(workspace, ContactReference(id=str(foreign.id))), ContactNotFound)
    assert isinstance(
        error_of(workspace, by_email("jane@example.test", if_missing="refuse")), ContactNotFound
    )


def test_an_unknown_id_may_fall_back_to_identifiers(workspace):
    contact = a_contact(workspace, "jane@example.test")
    known = by_email("jane@example.test", id="gone", id_falls_back=True)
    new = by_email("joe@example.test", id=str(uuid.uuid4()), id_falls_back=True)
    alone = ContactReference(id="gone", id_falls_back=True)
    first, second, third = resolve_contacts(workspace.id, [known, new, alone])
    assert first == Resolution(contact.id, created=False)
    assert isinstance(second, Resolution)
    assert second.created
    assert isinstance(third, ContactNotFound)


def test_the_first_identifier_that_finds_somebody_wins(workspace):
    by_phone = a_contact(workspace, identifiers=(("phone", "+12025550123"),))
    by_mail = a_contact(workspace, "jane@example.test")
    both = (("email", "nobody@example.test"), ("email", "jane@example.test"), ("phone", "+12025550123"))
    (result,) = resolved(workspace.id, ContactReference(identifiers=both, if_missing="create"))
    assert result.contact_id == by_mail.id
    (result,) = resolved(workspace.id, ContactReference(identifiers=both[::-1], if_missing="create"))
    assert result.contact_id == by_phone.id


def test_a_new_person_gets_everything_that_is_known(workspace, announced):
    reference = ContactReference(
        identifiers=(
            ("email", "Jane@Example.test"),
            ("email", "jane2@example.test"),
            ("email", "jane@example.test"),
            ("phone", "+1-555-1234"),
            ("phone", ""),
        ),
        if_missing="create",
        changes=ContactChanges(
            first_name="Jane",
            last_name="Doe",
            attributes={"plan": "pro", "age": None},
            identifiers=(("external_id", 7),),
            tags=("vip", "vip"),
            consents={"email": "opted_in"},
        ),
    )
    (result,) = resolved(workspace.id, reference)
    assert result.created
    contact = with_details(Contact.objects.all()).get()
    assert contact.id == result.contact_id
    assert identifier_values(contact, "email") == ["jane@example.test", "jane2@example.test"]
    assert (contact.email, contact.phone, contact.external_id) == ("jane@example.test", "+15551234", "7")
    assert (contact.first_name, contact.last_name, contact.attributes) == ("Jane", "Doe", {"plan": "pro"})
    assert contact.tag_names == ["vip"]
    assert contact.subscribed
    (changes,) = announced
    assert [change.kind for change in changes] == ["created", "tagged", "subscribed"]
    assert changes[0].old == {}
    assert changes[0].new["email"] == "jane@example.test"
    assert changes[0].new["first_name"] == "Jane"


def test_somebody_without_identifiers_is_made_from_a_name_every_time(workspace):
    reference = ContactReference(if_missing="create", changes=ContactChanges(first_name="Jane"))
    first, second = resolved(workspace.id, reference, reference)
    assert first.created
    assert second.created
    assert first.contact_id != second.contact_id


def test_nothing_identifies_nobody(workspace):
    assert isinstance(error_of(workspace, ContactReference(if_missing="create")), NoIdentity)
    assert isinstance(error_of(workspace, ContactReference()), ContactNotFound)
    assert isinstance(error_of(workspace, by_email("no address")), InvalidIdentifier)
    assert not Contact.objects.exists()


def test_a_refused_reference_leaves_the_others_alone(workspace):
    create_field(workspace.id, "age", "integer")
    good, bad, again = resolve_contacts(
        workspace.id,
        [
            by_email("a@example.test"),
            by_email("b@example.test", changes=ContactChanges(attributes={"age": "old"})),
            by_email("b@example.test", changes=ContactChanges(attributes={"age": "41"})),
        ],
    )
    assert isinstance(good, Resolution)
    assert isinstance(bad, InvalidFieldValue)
    assert isinstance(again, Resolution)
    assert again.created
    assert get_contact(workspace.id, again.contact_id).attributes == {"age": 41}


def test_one_new_person_meant_many_times_is_made_once(workspace, announced):
    results = resolved(
        workspace.id,
        by_email("a@example.test"),
        by_email("A@example.test"),
        by_email("b@example.test", "a@example.test"),
        by_email("b@example.test"),
    )
    assert [result.created for result in results] == [True, False, False, True]
    assert len({result.contact_id for result in results[:3]}) == 1
    assert Contact.objects.count() == 2
    assert len(announced) == 1


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_the_number_of_statements_does_not_grow(workspace, nobody_listens, size, django_assert_num_queries):
    ids = [ContactReference(id=str(a_contact(workspace).id)) for _ in range(min(size, 50))]
    new = [by_email(f"n{n}@example.test") for n in range(size)]
    updating = [
        by_email(
            f"n{n}@example.test",
            update_matched=True,
            changes=ContactChanges(
                first_name="N", attributes={"n": n}, identifiers=(("phone", f"+1202555{n:04}"),), tags=("t",)
            ),
        )
        for n in range(size)
    ]
    with django_assert_num_queries(1):
        resolved(workspace.id, *ids)
    several = [
        ContactReference(
            identifiers=(("external_id", f"a{n}"), ("anonymous_id", f"b{n}")), if_missing="create"
        )
        for n in range(size)
    ]
    with django_assert_num_queries(3):  # look-up, savepoint, contacts with their one identifier
        assert all(result.created for result in resolved(workspace.id, *new))
    with django_assert_num_queries(3):  # look-up, savepoint, contacts with all that they have
        assert all(result.created for result in resolved(workspace.id, *several))
    with django_assert_num_queries(1):
        assert not any(result.created for result in resolved(workspace.id, *new, *ids))
    # look-up with the schema; savepoint, lock, states, identifiers, contacts, tags, their links, release
    with django_assert_num_queries(9):
        resolved(workspace.id, *updating)
    with django_assert_num_queries(1):
        resolved(workspace.id, *updating)


def test_a_new_contact_has_its_tags_whether_they_are_new_or_not(workspace, django_assert_num_queries):
    a_contact(workspace, "joe@example.test", tags=["old"])
    changes = ContactChanges(tags=("new", "old"), consents={"sms": "opted_in"})
    (result,) = resolved(workspace.id, by_email("jane@example.test", changes=changes))
    stored = get_contact(workspace.id, result.contact_id)
    assert stored.tag_names == ["new", "old"]
    assert stored.consent("sms") == "opted_in"


def test_a_matched_contact_is_updated_only_if_asked(workspace, announced):
    contact = a_contact(workspace, "jane@example.test", first_name="Jane", attributes={"a": 1, "b": 2})
    changes = ContactChanges(first_name="Janet", attributes={"a": None, "c": {"d": 1}})
    announced.clear()
    resolved(workspace.id, by_email("jane@example.test", changes=changes))
    assert announced == []
    resolved(workspace.id, by_email("jane@example.test", changes=changes, update_matched=True))
    stored = get_contact(workspace.id, contact.id)
    assert stored.first_name == "Janet"
    assert stored.attributes == {"b": 2, "c": {"d": 1}}
    assert stored.updated_at > contact.updated_at
    ((change,),) = announced
    assert change.kind == "updated"
    assert change.old == {"first_name": "Jane", "attributes": {"a": 1}}
    assert change.new == {"first_name": "Janet", "attributes": {"a": None, "c": {"d": 1}}}


def test_true_is_not_one(workspace):
    contact = a_contact(workspace, "jane@example.test", attributes={"flag": 1})
    changes = ContactChanges(attributes={"flag": True})
    resolved(workspace.id, by_email("jane@example.test", changes=changes, update_matched=True))
    assert get_contact(workspace.id, contact.id).attributes["flag"] is True


def test_an_identifier_of_somebody_else_is_ignored(workspace):
    jane = a_contact(workspace, "jane@example.test")
    joe = a_contact(workspace, identifiers=(("phone", "+12025550123"),))
    (result,) = resolved(
        workspace.id,
        ContactReference(
            identifiers=(("email", "jane@example.test"), ("phone", "+12025550123")),
            if_missing="create",
            update_matched=True,
        ),
    )
    assert result.contact_id == jane.id
    assert get_contact(workspace.id, jane.id).phone is None
    assert get_contact(workspace.id, joe.id).phone == "+12025550123"


def test_an_id_with_another_address_changes_the_address_if_it_is_free(workspace):
    jane = a_contact(workspace, "jane@example.test")
    a_contact(workspace, "joe@example.test")
    for address in ("new@example.test", "joe@example.test"):
        resolved(workspace.id, by_email(address, id=str(jane.id), update_matched=True))
        stored = get_contact(workspace.id, jane.id)
        assert identifier_values(stored, "email") == ["new@example.test", "jane@example.test"]


def test_found_by_a_second_address_the_first_stays_primary(workspace):
    jane = a_contact(workspace, "jane@example.test", identifiers=(("email", "second@example.test"),))
    changes = ContactChanges(first_name="Jane")
    resolved(workspace.id, by_email("second@example.test", update_matched=True, changes=changes))
    assert get_contact(workspace.id, jane.id).email == "jane@example.test"


def test_several_updates_of_one_contact_add_up(workspace, announced):
    jane = a_contact(workspace, "jane@example.test")
    announced.clear()
    resolved(
        workspace.id,
        *(
            by_email("jane@example.test", update_matched=True, changes=ContactChanges(attributes=attributes))
            for attributes in ({"a": 1, "b": 1}, {"b": 2}, {"a": None})
        ),
    )
    assert get_contact(workspace.id, jane.id).attributes == {"b": 2}
    assert len(announced) == 1


def test_merged_contacts_lead_to_their_survivor_and_say_whom_they_named(workspace):
    survivor = a_contact(workspace, "survivor@example.test")
    middle = a_contact(workspace, "middle@example.test")
    first = a_contact(workspace, "first@example.test")
    merge_contacts(workspace.id, middle, first)
    merge_contacts(workspace.id, survivor, middle)
    changes = ContactChanges(first_name="S")
    assert resolved(
        workspace.id,
        ContactReference(id=str(first.id)),
        by_email("first@example.test"),
        by_email("middle@example.test", update_matched=True, changes=changes),
        by_email("survivor@example.test"),
    ) == [
        Resolution(survivor.id, created=False, came_with=first.id),
        Resolution(survivor.id, created=False, came_with=first.id),
        Resolution(survivor.id, created=False, came_with=middle.id),
        Resolution(survivor.id, created=False),
    ]
    assert get_contact(workspace.id, survivor.id).first_name == "S"


@pytest.mark.parametrize("reference", [by_email("merged@example.test"), None])
def test_a_merged_contact_is_found_by_one_statement(workspace, reference, django_assert_num_queries):
    merged = a_contact(workspace, "merged@example.test")
    merge_contacts(workspace.id, a_contact(workspace), merged)
    with django_assert_num_queries(1):
        resolved(workspace.id, reference or ContactReference(id=str(merged.id)))


def test_the_value_of_the_identity_field_is_an_identifier_too(workspace):
    create_field(workspace.id, "customer_no", "integer")
    set_identity_field(workspace, "customer_no")
    changes = ContactChanges(attributes={"customer_no": " 12 "})
    (made,) = resolved(workspace.id, by_email("jane@example.test", changes=changes))
    assert get_contact(workspace.id, made.contact_id).attributes == {"customer_no": 12}
    number = ContactReference(identifiers=(("customer_no", "12"),), if_missing="create")
    assert resolved(workspace.id, number) == [Resolution(made.contact_id, created=False)]

    other = ContactReference(identifiers=(("customer_no", 13),), if_missing="create")
    (second,) = resolved(workspace.id, other)
    assert second.created
    assert get_contact(workspace.id, second.contact_id).attributes == {"customer_no": 13}

    changes = ContactChanges(attributes={"customer_no": 14})
    resolved(workspace.id, by_email("jane@example.test", update_matched=True, changes=changes))
    values = Identifier.objects.filter(kind="customer_no").values_list("contact_id", "value")
    assert set(values) == {(made.contact_id, "14"), (second.contact_id, "13")}

    taken = ContactChanges(attributes={"customer_no": 13, "plan": "pro"})
    resolved(workspace.id, by_email("jane@example.test", update_matched=True, changes=taken))
    assert get_contact(workspace.id, made.contact_id).attributes == {"customer_no": 14, "plan": "pro"}


def test_a_rolled_back_resolution_leaves_nothing(workspace):
    def fail() -> None:
        with transaction.atomic():
            resolved(workspace.id, by_email("jane@example.test"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not Contact.objects.exists()
    assert not Identifier.objects.exists()


class TestDistinctBy:
    """A contact that has another identifier of the kind is somebody else."""

    @staticmethod
    def reference(*identifiers, **options):
        options = {"if_missing": "create", "update_matched": True, "distinct_by": "external_id", **options}
        return ContactReference(identifiers=identifiers, **options)

    def test_a_weaker_identifier_finds_nobody_of_another_name(self, workspace):
        first, second = resolved(
            workspace.id,
            self.reference(("external_id", "1"), ("anonymous_id", "a")),
            self.reference(("external_id", "2"), ("anonymous_id", "a")),
        )
        assert first.contact_id != second.contact_id
        (again, nameless) = resolved(
            workspace.id,
            self.reference(("external_id", "2"), ("anonymous_id", "a")),
            self.reference(("anonymous_id", "a"), ("email", "a@example.test")),
        )
        assert (again.contact_id, nameless.contact_id) == (second.contact_id, first.contact_id)

    def test_who_has_no_such_name_gets_it(self, workspace):
        contact = a_contact(workspace, "jane@example.test")
        for name in ("1", "1"):
            (found,) = resolved(
                workspace.id, self.reference(("external_id", name), ("email", "jane@example.test"))
            )
            assert found.contact_id == contact.id
        (other,) = resolved(
            workspace.id, self.reference(("external_id", "2"), ("email", "jane@example.test"))
        )
        assert other.contact_id != contact.id

    def test_names_of_merged_contacts_are_the_survivors(self, workspace):
        first = a_contact(workspace, identifiers=(("external_id", "1"), ("anonymous_id", "a")))
        second = a_contact(workspace, identifiers=(("external_id", "2"),))
        merge_contacts(workspace.id, first, second)
        (found,) = resolved(workspace.id, self.reference(("external_id", "2"), ("anonymous_id", "a")))
        assert found.contact_id == first.id


class TestSameAs:
    """Who is said to be one person with the contact, but is another, is told as apart."""

    def test_those_who_are_apart(self, workspace):
        jane = a_contact(workspace, "jane@example.test")
        other = a_contact(workspace, identifiers=(("anonymous_id", "a"),))
        same_as = (("anonymous_id", "a"), ("anonymous_id", "unknown"), ("email", "jane@example.test"))
        for options in ({}, {"update_matched": True, "changes": ContactChanges(first_name="Jane")}):
            (found,) = resolved(workspace.id, by_email("jane@example.test", same_as=same_as, **options))
            assert (found.contact_id, found.apart) == (jane.id, (other.id,))
        merge_contacts(workspace.id, jane, other)
        (found,) = resolved(workspace.id, by_email("jane@example.test", same_as=same_as))
        assert found.apart == ()

    def test_not_somebody_else(self, workspace):
        resolved(workspace.id, TestDistinctBy.reference(("external_id", "1"), ("anonymous_id", "a")))
        (found,) = resolved(
            workspace.id,
            TestDistinctBy.reference(
                ("external_id", "2"), ("anonymous_id", "a"), same_as=(("anonymous_id", "a"),)
            ),
        )
        assert (found.created, found.apart) == (True, ())

    def test_of_one_call(self, workspace):
        device, person = resolved(
            workspace.id,
            ContactReference(identifiers=(("anonymous_id", "a"),), if_missing="create"),
            by_email("jane@example.test", same_as=(("anonymous_id", "a"),)),
        )
        assert person.apart == (device.contact_id,)


class TestFillsIn:
    """A sender whom nobody has checked fills in what is missing; of its own anonymous contact it says all."""

    @staticmethod
    def tell(workspace, *identifiers, **changes):
        reference = ContactReference(
            identifiers=identifiers,
            if_missing="create",
            update_matched=True,
            fills_in=True,
            changes=ContactChanges(**changes),
        )
        return resolved(workspace.id, reference)[0].contact_id

    def test_an_anonymous_contact_gets_identifiers_and_changes(self, workspace):
        device = ("anonymous_id", "a")
        contact_id = self.tell(workspace, device, attributes={"plan": "a"})
        assert self.tell(workspace, ("external_id", "1"), device, attributes={"plan": "b"}) == contact_id
        assert get_contact(workspace.id, contact_id).attributes == {"plan": "b"}

    def test_from_its_own_device_a_known_contact_gets_the_identifiers_it_lacks(self, workspace):
        device, name = ("anonymous_id", "a"), ("external_id", "1")
        contact_id = self.tell(workspace, name, device, attributes={"plan": "a"})
        for reference in (
            (("email", "ada@example.test"), device),
            (name, ("email", "eve@example.test"), device),
            (name, ("phone", "+12025550101"), ("anonymous_id", "another")),
            (name, ("phone", "+12025550102")),
        ):
            assert self.tell(workspace, *reference, attributes={"plan": "b"}) == contact_id
        assert get_contact(workspace.id, contact_id).attributes == {"plan": "a"}
        known = Identifier.objects.filter(contact_id=contact_id).values_list("kind", "value")
        assert set(known) == {device, name, ("email", "ada@example.test")}

    def test_the_device_of_one_merged_into_it_is_not_a_contacts_own(self, workspace):
        """Anybody who knows a person's name can have a device of theirs merged into it."""
        person = a_contact(workspace, identifiers=(("external_id", "1"),))
        visitor = a_contact(workspace, identifiers=(("anonymous_id", "a"),))
        merge_contacts(workspace.id, person, visitor)
        self.tell(workspace, ("external_id", "1"), ("anonymous_id", "a"), ("email", "eve@example.test"))
        assert not Identifier.objects.filter(kind="email").exists()

    def test_the_first_device_stays_the_primary_one(self, workspace):
        for device in ("a", "b"):
            reference = ContactReference(
                identifiers=(("external_id", "1"), ("anonymous_id", device)),
                if_missing="create",
                update_matched=True,
            )
            (found,) = resolved(workspace.id, reference)
        devices = Identifier.objects.filter(contact_id=found.contact_id, kind="anonymous_id")
        assert dict(devices.values_list("value", "is_primary")) == {"a": True, "b": False}


def test_who_fills_in_tells_of_past_consents_only_where_nothing_is_known(workspace):
    contact = a_contact(workspace, "a@example.test", consents={"sms": "opted_out"})
    at = datetime(2024, 6, 1, tzinfo=UTC)
    past = {channel: PastConsent("opted_in", at) for channel in ("email", "sms")}
    later = {"sms": PastConsent("opted_in", datetime.now(UTC))}
    for consents in (past, later):
        changes = ContactChanges(past_consents=consents)
        resolved(
            workspace.id, by_email("a@example.test", update_matched=True, fills_in=True, changes=changes)
        )
    known = {
        row.channel: (row.status, row.changed_at == at) for row in Consent.objects.filter(contact=contact)
    }
    assert known == {"email": ("opted_in", True), "sms": ("opted_out", False)}
