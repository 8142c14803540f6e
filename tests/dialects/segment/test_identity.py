"""Who a call is about, and whom it makes one person."""

from itertools import permutations

import pytest

from contacts.merging.merges import undo_merge
from contacts.models import Contact, Identifier, Merge
from contacts.profiles.fields import create_field
from dialects.segment import viewsets
from events.models import Event
from events.replay import replay_batch, replayable
from workspaces.services import issue_api_key


def track(name, **ids):
    return {"event": name, **ids}


def who(kind, value):
    """Return the contact, or its survivor, that an identifier means."""
    contact = Identifier.objects.get(kind=kind, value=value).contact
    return contact.merged_into or contact


def test_an_anonymous_person_becomes_a_user(send, workspace):
    send("track", track("Seen", anonymousId="a1"))
    send("identify", {"userId": "u1", "anonymousId": "a1", "traits": {"email": "ada@example.com"}})
    send("track", track("Paid", userId="u1"))
    contact = Contact.objects.get(workspace=workspace)
    assert Event.objects.filter(workspace=workspace, source="api", contact=contact).count() == 3
    assert not Merge.objects.exists()


@pytest.mark.parametrize("kind", ["identify", "track", "page"])
def test_a_user_and_a_device_known_apart_are_merged(send, workspace, kind):
    send("track", track("Seen", anonymousId="a1"))
    send("identify", {"userId": "u1"})
    send(kind, {"userId": "u1", "anonymousId": "a1", "event": "Paid"})
    merge = Merge.objects.get(workspace=workspace)
    assert who("anonymous_id", "a1") == who("external_id", "u1") == merge.survivor
    send(kind, {"userId": "u1", "anonymousId": "a1", "event": "Paid"})
    assert Merge.objects.count() == 1
    undo_merge(workspace.id, merge)
    send(kind, {"userId": "u1", "anonymousId": "a1", "event": "Paid"})
    assert who("anonymous_id", "a1") != who("external_id", "u1")


def test_two_users_of_a_device_stay_apart(send, workspace):
    for user in ("u1", "u2"):
        send("identify", {"userId": user, "anonymousId": "a1", "traits": {"name": user}})
        send("track", track("Paid", userId=user, anonymousId="a1"))
    assert who("external_id", "u1") == who("anonymous_id", "a1") != who("external_id", "u2")
    assert {contact.first_name for contact in Contact.objects.all()} == {"u1", "u2"}
    assert not Merge.objects.exists()


def test_two_users_of_a_mailbox_stay_apart(send, workspace):
    for user in ("u1", "u2"):
        send("identify", {"userId": user, "traits": {"email": "family@example.com"}})
    assert who("email", "family@example.com") == who("external_id", "u1") != who("external_id", "u2")


def test_a_subscriber_becomes_a_user(send, workspace):
    send("identify", {"anonymousId": "a1", "traits": {"email": "ada@example.com"}})
    send("identify", {"userId": "u1", "traits": {"email": "ADA@example.com"}})
    assert Contact.objects.count() == 1
    assert who("external_id", "u1") == who("anonymous_id", "a1")


def test_a_second_device_does_not_change_the_contact_each_time(send, workspace):
    for device in ("a1", "a2", "a1", "a2"):
        send("track", track("Paid", userId="u1", anonymousId=device))
    names = list(Event.objects.filter(source="system").order_by("id").values_list("name", flat=True))
    assert names == ["contact.created", "contact.updated"]


@pytest.mark.parametrize("former", [{"anonymousId": "old"}, {"userId": "old"}])
def test_an_alias_merges_the_former_id(send, workspace, former):
    send("track", track("Seen", **former))
    send("identify", {"userId": "new", "traits": {"plan": "pro"}})
    send("alias", {"userId": "new", "previousId": "old"})
    merge = Merge.objects.get(workspace=workspace)
    assert merge.survivor == who("external_id", "new")
    assert Contact.objects.filter(merged_into=None).count() == 1
    send("track", track("Paid", **former))
    assert Event.objects.get(name="Paid").contact_id == merge.merged_id


def test_an_alias_before_its_device_is_seen(send, workspace):
    send("alias", {"userId": "new", "previousId": "old"})
    send("track", track("Seen", anonymousId="old"))
    assert Contact.objects.count() == 1


def test_an_alias_within_a_batch(send, workspace):
    batch = [
        {"type": "track", **track("Seen", anonymousId="a1")},
        {"type": "identify", "userId": "u1"},
        {"type": "alias", "userId": "u1", "previousId": "a1"},
        {"type": "track", **track("Paid", userId="u1", anonymousId="a1")},
    ]
    send("batch", {"batch": batch})
    assert who("external_id", "u1") == who("anonymous_id", "a1")
    assert Merge.objects.count() == 1


class TestPageKey:
    """A key that anybody can read on a page."""

    def test_makes_contacts(self, send, page_key):
        send("identify", {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}}, secret=page_key)
        assert who("external_id", "u1") == who("anonymous_id", "a1")

    def test_names_its_own_visitor(self, send, page_key):
        send("page", {"anonymousId": "a1"}, secret=page_key)
        send("identify", {"anonymousId": "a1", "traits": {"email": "ada@example.com"}}, secret=page_key)
        assert who("email", "ada@example.com") == who("anonymous_id", "a1")
        send("identify", {"anonymousId": "a1", "traits": {"email": "eve@example.com"}}, secret=page_key)
        assert not Identifier.objects.filter(value="eve@example.com").exists()

    def test_merges_its_own_visitor_into_a_user(self, send, workspace, page_key):
        send("identify", {"userId": "u1", "traits": {"email": "ada@example.com"}})
        send("page", {"anonymousId": "a1"}, secret=page_key)
        send("identify", {"userId": "u1", "anonymousId": "a1"}, secret=page_key)
        assert who("external_id", "u1") == who("anonymous_id", "a1")
        assert Merge.objects.get(workspace=workspace).by

    def test_changes_nobody_who_is_known(self, send, page_key):
        send("identify", {"userId": "u1", "traits": {"email": "ada@example.com", "plan": "pro"}})
        traits = {"email": "eve@example.com", "plan": "free", "city": "London"}
        send("identify", {"userId": "u1", "traits": traits}, secret=page_key)
        assert who("external_id", "u1").attributes == {"plan": "pro", "city": "London"}
        assert not Identifier.objects.filter(value="eve@example.com").exists()

    @pytest.mark.parametrize(
        "former", [{"userId": "u2"}, {"anonymousId": "a2", "traits": {"email": "b@example.com"}}]
    )
    def test_merges_nobody_who_is_known(self, send, page_key, former):
        send("identify", {"userId": "u1"})
        send("identify", former)
        previous = former.get("userId") or former["anonymousId"]
        send("alias", {"userId": "u1", "previousId": previous}, secret=page_key)
        send("track", track("Paid", userId="u1", anonymousId=previous), secret=page_key)
        assert not Merge.objects.exists()

    def test_puts_no_device_to_a_mailbox(self, send, page_key):
        send("identify", {"traits": {"email": "ada@example.com"}, "anonymousId": "hers"})
        for _ in range(2):
            send("page", {"anonymousId": "evil"}, secret=page_key)
            body = {"anonymousId": "evil", "traits": {"email": "ada@example.com"}}
            send("identify", body, secret=page_key)
        assert who("anonymous_id", "evil") != who("email", "ada@example.com")
        assert not Merge.objects.exists()

    def test_names_a_person_at_its_own_device(self, send, page_key):
        send("track", track("Seen", userId="u1", anonymousId="hers"), secret=page_key)
        for device in ("evil", "hers"):
            body = {"userId": "u1", "anonymousId": device, "traits": {"email": f"{device}@example.com"}}
            send("identify", body, secret=page_key)
        assert who("email", "hers@example.com") == who("external_id", "u1")
        assert not Identifier.objects.filter(value="evil@example.com").exists()

    def test_names_nobody_at_a_device_that_has_passed_on(self, send, page_key):
        send("identify", {"anonymousId": "hers", "traits": {"email": "ada@example.com"}}, secret=page_key)
        body = {"userId": "u2", "anonymousId": "hers", "traits": {"email": "bob@example.com"}}
        send("identify", body, secret=page_key)
        assert not Identifier.objects.filter(value__in=["u2", "bob@example.com"]).exists()

    def test_puts_nobody_into_a_company(self, send, workspace, page_key):
        send("group", {"userId": "u1", "groupId": "g1", "traits": {"name": "Acme"}}, secret=page_key)
        assert Event.objects.get(name="group").company_id is None


def test_a_key_that_may_not_write_contacts_merges_as_a_page_does(send, workspace):
    lesser = issue_api_key(workspace.id, "lesser", scopes=["events:write", "events:read"]).secret
    send("track", track("Seen", userId="old"))
    send("identify", {"userId": "new"})
    send("alias", {"userId": "new", "previousId": "old"}, secret=lesser)
    assert not Merge.objects.exists()
    send("alias", {"userId": "new", "previousId": "old"})
    assert Merge.objects.count() == 1


def test_of_many_merges_some_wait_until_the_client_comes_again(post, send, workspace, monkeypatch):
    monkeypatch.setattr(viewsets, "MAX_MERGES", 2)
    batch = [{"type": "track", "event": "Seen", "anonymousId": f"a{number}"} for number in range(5)]
    send("batch", {"batch": [*batch, {"type": "identify", "userId": "u1"}]})
    body = {
        "batch": [
            {"type": "alias", "userId": "u1", "previousId": f"a{number}", "messageId": f"m{number}"}
            for number in range(5)
        ]
    }
    answers = [post("batch", body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert int(answers[0].headers["Retry-After"]) > 0
    assert Merge.objects.count() == 5
    assert Event.objects.filter(name="alias").count() == 5


@pytest.mark.parametrize("traits_with", ["identify", "all"])
@pytest.mark.parametrize("sender", ["server", "page"])
def test_calls_in_any_order_mean_one_person(send, key, page_key, traits_with, sender):
    """Clients in pages send each call as it is made: which comes first is the network's choice.

    RudderStack's client tells the traits with each call after `identify`, Segment's with that alone.
    """
    secret = {"server": key, "page": page_key}[sender]
    apart = []
    for number, order in enumerate(permutations(("page", "identify", "track", "alias"))):
        traits = {"email": f"ada{number}@example.com", "plan": "pro"}
        device = {"anonymousId": f"device-{number}"}
        known = {**device, "userId": f"user-{number}"}
        if traits_with == "all":
            known["context"] = {"traits": traits}
        calls = {
            "page": {**device, "name": "Pricing"},
            "identify": {**known, "traits": traits},
            "track": {**known, "event": "Paid"},
            "alias": {**known, "previousId": f"former-{number}"},
        }
        for kind in order:
            send(kind, calls[kind], secret=secret)
        names = [*device.values(), known["userId"], traits["email"]]
        holders = Identifier.objects.filter(value__in=names).values_list("contact", "contact__merged_into")
        if len(holders) != 3 or len({survivor or contact for contact, survivor in holders}) != 1:
            apart.append((order, list(holders)))
    assert not apart


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sender", ["server", "page"])
def test_a_call_that_is_replayed_merges_as_it_would_have(send, workspace, key, page_key, sender):
    send("track", track("Seen", anonymousId="a1"))
    send("identify", {"anonymousId": "a2", "traits": {"email": "ada@example.com"}})
    send("identify", {"userId": "u1"})
    field = create_field(workspace.id, "age", "integer")
    calls = [
        {"type": "identify", "userId": "u1", "anonymousId": device, "traits": {"age": "old"}}
        for device in ("a1", "a2")
    ]
    send("batch", {"batch": calls}, secret={"server": key, "page": page_key}[sender])
    assert not Merge.objects.exists()
    field.delete()
    assert replay_batch(workspace.id, replayable(workspace.id)).recorded == 2
    assert who("anonymous_id", "a1") == who("external_id", "u1")
    assert (who("email", "ada@example.com") == who("external_id", "u1")) is (sender == "server")
