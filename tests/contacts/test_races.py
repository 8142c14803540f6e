"""Two and more connections at the same instant, on a real server."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from contacts.crud import create_contact, delete_contact, get_contact, update_contact, upsert_contact
from contacts.errors import IdentifierTaken
from contacts.identity import lookup, resolution
from contacts.identity.resolution import resolve_contacts
from contacts.models import Company, Consent, Contact, ContactTag, Identifier, Tag
from contacts.references import ContactChanges, ContactReference, Resolution
from tests.contacts.factories import a_contact, by_email, identifier_values, resolve_company, resolved
from tests.workspaces.factories import WorkspaceFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("nobody_listens")]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run calls in a connection each, all started together; an exception is a result too."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait(10)
            with transaction.atomic():
                return call()
        except Exception as error:  # the test looks at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(run, call) for call in calls]]


def resolving(workspace, references: Sequence[ContactReference]) -> Callable[[], list[Resolution]]:
    return lambda: resolved(workspace.id, *references)


@pytest.mark.parametrize("repetition", range(5))
def test_one_person_is_made_once(repetition):
    workspace = WorkspaceFactory.create()
    results = at_once(*[resolving(workspace, [by_email("jane@example.test")])] * 4)
    assert sorted(result[0].created for result in results) == [False, False, False, True]
    assert len({result[0].contact_id for result in results}) == 1
    assert Contact.objects.count() == Identifier.objects.count() == 1


def test_the_loser_waits_for_the_winner_and_finds_it():
    workspace = WorkspaceFactory.create()
    inserted, waiting = threading.Event(), threading.Event()

    def winner():
        result = resolved(workspace.id, by_email("jane@example.test", "jane2@example.test"))
        inserted.set()
        waiting.wait(0.5)
        return result

    def loser():
        inserted.wait(5)
        changes = ContactChanges(first_name="Jane")
        return resolved(workspace.id, by_email("jane2@example.test", update_matched=True, changes=changes))

    (won,), (lost,) = at_once(winner, loser)
    assert (won.created, lost.created) == (True, False)
    assert won.contact_id == lost.contact_id
    assert get_contact(workspace.id, won.contact_id).first_name == "Jane"
    assert Contact.objects.count() == 1


def test_a_winner_that_rolls_back_leaves_the_person_to_the_loser():
    workspace = WorkspaceFactory.create()
    inserted = threading.Event()

    def winner():
        resolved(workspace.id, by_email("jane@example.test"))
        inserted.set()
        raise ZeroDivisionError

    def loser():
        inserted.wait(5)
        return resolved(workspace.id, by_email("jane@example.test"))

    failed, (made,) = at_once(winner, loser)
    assert isinstance(failed, ZeroDivisionError)
    assert made.created
    assert Contact.objects.count() == 1


def test_plain_batches_in_opposite_order_neither_lock_up_nor_double():
    workspace = WorkspaceFactory.create()
    references = [by_email(f"p{n}@example.test") for n in range(200)]
    results = at_once(
        resolving(workspace, references),
        resolving(workspace, references[::-1]),
        resolving(workspace, references[50:150] * 2),
    )
    assert not [result for result in results if isinstance(result, Exception)]
    assert sum(one.created for result in results for one in result) == 200
    assert [outcome.contact_id for outcome in results[0]] == [outcome.contact_id for outcome in results[1]][
        ::-1
    ]
    assert Contact.objects.count() == Identifier.objects.count() == 200


@pytest.mark.parametrize("update_matched", [False, True])
def test_batches_in_opposite_order_neither_lock_up_nor_double(update_matched):
    workspace = WorkspaceFactory.create()
    for n in range(0, 60, 3):
        a_contact(workspace, f"p{n}@example.test")

    def batch(order, name):
        changes = ContactChanges(first_name=name, attributes={name: name}, tags=(name, "all"))
        return resolving(
            workspace,
            [
                ContactReference(
                    identifiers=(("email", f"p{n}@example.test"), ("phone", f"+12025550{n:03}")),
                    if_missing="create",
                    update_matched=update_matched,
                    changes=changes,
                )
                for n in order
            ],
        )

    results = at_once(batch(range(60), "a"), batch(range(59, -1, -1), "b"), batch(range(60), "c"))
    assert not [result for result in results if isinstance(result, Exception)]
    assert sum(one.created for result in results for one in result) == 40
    assert Contact.objects.count() == 60
    assert Identifier.objects.filter(kind="email").count() == 60
    if update_matched:
        assert all(set(contact.attributes) == set("abc") for contact in Contact.objects.all())
        assert Tag.objects.count() == 4
        assert Identifier.objects.filter(kind="phone").count() == 60


def test_addresses_swapped_between_new_persons_do_not_lock_up():
    workspace = WorkspaceFactory.create()
    for n in range(10):
        one, other = f"a{n}@example.test", f"z{n}@example.test"
        results = at_once(
            resolving(workspace, [by_email(one, other)]), resolving(workspace, [by_email(other, one)])
        )
        assert len({result[0].contact_id for result in results}) == 1
    assert Contact.objects.count() == 10


def test_updates_of_one_contact_lose_nothing():
    workspace = WorkspaceFactory.create()
    contact = a_contact(workspace, "jane@example.test")

    def setting(key):
        changes = ContactChanges(attributes={key: 1}, identifiers=(("phone", f"+1202555010{key}"),))
        return resolving(workspace, [by_email("jane@example.test", update_matched=True, changes=changes)])

    results = at_once(*[setting(str(n)) for n in range(4)])
    assert not [result for result in results if isinstance(result, Exception)]
    stored = get_contact(workspace.id, contact.id)
    assert stored.attributes == {"0": 1, "1": 1, "2": 1, "3": 1}
    assert len(identifier_values(stored, "phone")) == 4
    assert Identifier.objects.filter(kind="phone", is_primary=True).count() == 1


def test_finding_a_contact_does_not_wait_for_its_update():
    workspace = WorkspaceFactory.create()
    contact = a_contact(workspace, "jane@example.test")
    updated, found = threading.Event(), threading.Event()

    def update():
        changes = ContactChanges(first_name="Jane")
        resolved(workspace.id, by_email("jane@example.test", update_matched=True, changes=changes))
        updated.set()
        return found.wait(5)

    def find():
        updated.wait(5)
        result = resolve_contacts(workspace.id, [by_email("jane@example.test")])
        found.set()
        return result

    in_time, result = at_once(update, find)
    assert in_time
    assert result == [Resolution(contact.id, created=False)]


def test_one_of_two_creations_is_refused():
    workspace = WorkspaceFactory.create()
    changes = ContactChanges(identifiers=(("email", "jane@example.test"),))
    results = at_once(*[lambda: create_contact(workspace, changes)] * 2)
    assert {type(result) for result in results} == {Contact, IdentifierTaken}
    assert Contact.objects.count() == 1


def test_one_of_two_upserts_creates():
    workspace = WorkspaceFactory.create()
    changes = ContactChanges(first_name="Jane")
    results = at_once(*[lambda: upsert_contact(workspace.id, "email", "jane@example.test", changes)] * 3)
    assert sorted(created for _, created in results) == [False, False, True]


def test_one_company_is_made_once():
    workspace = WorkspaceFactory.create()
    names = ["Acme Corporation", "ACME corporation", "  acme   Corporation"]
    results = at_once(*[partial(resolve_company, workspace.id, name=name) for name in names])
    assert sorted(created for _, created in results) == [False, False, True]
    assert Company.objects.count() == 1


def test_a_contact_deleted_meanwhile_is_made_anew():
    workspace = WorkspaceFactory.create()
    for _ in range(5):
        contact = a_contact(workspace, "jane@example.test")
        changes = ContactChanges(first_name="Jane", tags=("t",), consents={"email": "opted_out"})
        gone, results = at_once(
            partial(delete_contact, workspace.id, contact),
            resolving(workspace, [by_email("jane@example.test", update_matched=True, changes=changes)]),
        )
        assert gone is None
        assert isinstance(results, list), results
        assert Contact.objects.count() == results[0].created
        Contact.objects.all().delete()


@pytest.fixture
def look_up_first(monkeypatch):
    """Let something happen between the look-up and the writing that follows from it."""

    def arrange(then: Callable[[], Any]) -> None:
        turns = iter([then])

        def find_then(*args, **options):
            found = lookup.find(*args, **options)
            for happen in turns:
                happen()
            return found

        monkeypatch.setattr(resolution, "find", find_then)

    return arrange


def test_one_who_lost_one_of_her_identifiers_leaves_nothing_behind(look_up_first):
    workspace = WorkspaceFactory.create()
    look_up_first(lambda: a_contact(workspace, "b@example.test"))
    changes = ContactChanges(first_name="Eve", tags=("t",), consents={"sms": "opted_in"}, attributes={"a": 1})
    reference = by_email("a@example.test", "b@example.test", changes=changes)
    with transaction.atomic():
        (result,) = resolved(workspace.id, reference)
    assert not result.created
    assert result.contact_id == Contact.objects.get().id
    assert [identifier.value for identifier in Identifier.objects.all()] == ["b@example.test"]
    assert not ContactTag.objects.exists()
    assert not Consent.objects.exists()


def test_those_made_beside_a_loser_are_made_all_the_same(look_up_first):
    workspace = WorkspaceFactory.create()
    look_up_first(lambda: a_contact(workspace, "b@example.test"))
    references = [by_email("a@example.test", "b@example.test"), by_email("c@example.test", "d@example.test")]
    with transaction.atomic():
        lost, made = resolved(workspace.id, *references)
    assert (lost.created, made.created) == (False, True)
    assert Contact.objects.count() == 2
    assert Identifier.objects.count() == 3


def test_a_tag_that_somebody_makes_in_this_moment_is_put_on_a_new_contact():
    workspace = WorkspaceFactory.create()
    made, tagged = threading.Event(), threading.Event()

    def other():
        a_contact(workspace, "joe@example.test", tags=["t"])
        made.set()
        tagged.wait(0.5)

    def own():
        made.wait(5)
        (result,) = resolved(workspace.id, by_email("jane@example.test", changes=ContactChanges(tags=("t",))))
        return get_contact(workspace.id, result.contact_id).tag_names

    assert at_once(other, own)[1] == ["t"]


def test_a_change_that_another_came_before_is_made_on_top_of_it(look_up_first):
    workspace = WorkspaceFactory.create()
    jane = a_contact(workspace, "jane@example.test", attributes={"a": 1})
    look_up_first(lambda: update_contact(workspace.id, jane, ContactChanges(attributes={"b": 2})))
    changes = ContactChanges(attributes={"c": 3}, identifiers=(("phone", "+15551234567"),))
    with transaction.atomic():
        resolved(workspace.id, by_email("jane@example.test", update_matched=True, changes=changes))
    stored = get_contact(workspace.id, jane.id)
    assert stored.attributes == {"a": 1, "b": 2, "c": 3}
    assert stored.phone == "+15551234567"


def test_a_change_with_an_identifier_that_another_took_leaves_that_out(look_up_first):
    workspace = WorkspaceFactory.create()
    jane = a_contact(workspace, "jane@example.test")
    taken = (("phone", "+15551234567"),)
    look_up_first(lambda: a_contact(workspace, identifiers=taken))
    changes = ContactChanges(first_name="Jane", identifiers=(*taken, ("external_id", "7")))
    with transaction.atomic():
        resolved(workspace.id, by_email("jane@example.test", update_matched=True, changes=changes))
    stored = get_contact(workspace.id, jane.id)
    assert (stored.first_name, stored.phone, stored.external_id) == ("Jane", None, "7")
    assert Identifier.objects.count() == 3


def test_changes_of_one_contact_at_once_are_all_made():
    workspace = WorkspaceFactory.create()
    jane = a_contact(workspace, "jane@example.test")
    changes = [ContactChanges(attributes={f"k{n}": n}) for n in range(6)]
    references = [by_email("jane@example.test", update_matched=True, changes=one) for one in changes]
    results = at_once(*[resolving(workspace, [reference]) for reference in references])
    assert not [result for result in results if isinstance(result, Exception)]
    assert get_contact(workspace.id, jane.id).attributes == {f"k{n}": n for n in range(6)}


def test_calls_about_one_new_person_at_once_do_not_lock_up():
    """A page sends its first calls side by side: who is too late to make the contact changes it."""
    workspace = WorkspaceFactory.create()

    def call(number, *kinds):
        identifiers = tuple((kind, f"{kind}-{number}@example.test") for kind in kinds)
        changes = ContactChanges(attributes=dict.fromkeys(kinds, number))
        return resolving(
            workspace,
            [
                ContactReference(
                    identifiers=identifiers, if_missing="create", update_matched=True, changes=changes
                )
            ],
        )

    for number in range(12):
        results = at_once(
            call(number, "anonymous_id"),
            call(number, "external_id"),
            call(number, "external_id", "email", "anonymous_id"),
            call(number, "email", "external_id", "anonymous_id"),
            call(number, "anonymous_id", "email"),
        )
        assert not [result for result in results if isinstance(result, Exception)]
    assert Identifier.objects.count() == 3 * 12


def test_batches_with_new_and_known_persons_do_not_lock_up():
    workspace = WorkspaceFactory.create()
    for number in range(6):
        calls = []
        for order in (range(20), range(19, -1, -1), range(0, 20, 2)):
            changes = ContactChanges(tags=(f"t{order[0]}",))
            references = [
                by_email(
                    *(f"{half}{number}-{n}@example.test" for half in "ab"[: 1 + n % 2]),
                    update_matched=bool(n % 3),
                    changes=changes,
                )
                for n in order
            ]
            calls.append(resolving(workspace, references))
        results = at_once(*calls)
        assert not [result for result in results if isinstance(result, Exception)]
    assert Contact.objects.count() == 6 * 20
