from threading import Barrier, Thread

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from campaigns.messaging import queue
from campaigns.messaging.queue import (
    EnqueuedMessage,
    MessageRequest,
    RefusedMessage,
    WebhookRequest,
    enqueue_many,
)
from campaigns.models import Decision, Message
from config import clock, ids
from contacts.crud import set_consent
from tests.campaigns.messages import a_template, reserve
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory


def test_a_message_is_rendered_when_it_is_reserved(workspace, jane, time):
    reserved = reserve(jane, a_template(workspace))

    assert isinstance(reserved, EnqueuedMessage)
    message = Message.objects.get()
    assert message == reserved.message
    assert (message.address, message.subject) == ("jane@example.test", "Hello")
    assert message.body == "<p>Hello jane@example.test</p>"
    assert message.text == "Hello jane@example.test"
    assert message.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message.send_at == time.now()


def test_a_key_has_one_message(workspace, jane):
    first = reserve(jane, a_template(workspace), key="one")
    second = reserve(jane, a_template(workspace, "<p>Another</p>"), key="one")

    assert second.message == first.message
    assert Message.objects.count() == 1


def test_a_missing_value_is_refused_with_its_reason(workspace, jane):
    refused = reserve(jane, a_template(workspace, "Dear {{ contact.firstName }}"))

    assert isinstance(refused, RefusedMessage)
    assert refused.reason == "value_missing"
    assert "contact.firstName" in refused.detail["message"]
    decision = Decision.objects.get()
    assert (decision.kind, decision.reason, decision.contact_id) == ("not_sent", "value_missing", jane.id)
    assert not Message.objects.exists()


def test_a_call_is_rendered_too(workspace, jane):
    request = WebhookRequest("https://shop.test/{{ contact.id }}", {"mail": "{{ contact.email }}", "n": [1]})
    reserved = reserve(jane, request)

    assert reserved.message.address == f"https://shop.test/{jane.id}"
    assert reserved.message.body == '{"mail": "jane@example.test", "n": [1]}'
    assert reserved.message.host == "shop.test"


def test_many_messages_cost_no_more_statements_than_one(workspace):
    template = a_template(workspace)
    people = [a_contact(workspace, f"person{number}@example.test") for number in range(20)]
    orders = [MessageRequest(contact.id, "email", template, key=f"run:{contact.id}") for contact in people]

    for batch in (orders[:1], orders[1:]):
        with CaptureQueriesContext(connection) as queries:
            outcomes = enqueue_many(workspace.id, batch, now=clock.now())
        assert all(isinstance(outcome, EnqueuedMessage) for outcome in outcomes)
        assert len(queries) <= 10

    assert [outcome.message.contact_id for outcome in outcomes] == [contact.id for contact in people[1:]]
    assert Message.objects.count() == 20


def test_each_has_its_own_outcome(workspace, jane):
    nobody = a_contact(workspace)
    set_consent(workspace.id, out := a_contact(workspace, "out@example.test"), "email", "opted_out")
    sound, holed = a_template(workspace), a_template(workspace, "{{ contact.firstName }}")
    request = WebhookRequest("https://shop.test/", '{"a": 1}')
    before = reserve(jane, key="before").message

    outcomes = enqueue_many(
        workspace.id,
        [
            MessageRequest(jane.id, "email", sound, key="a"),
            MessageRequest(nobody.id, "email", sound, key="b"),
            MessageRequest(out.id, "email", sound, key="c"),
            MessageRequest(jane.id, "email", holed, key="d"),
            MessageRequest(jane.id, "webhook", request, key="e"),
            MessageRequest(ids.uuid7(), "email", sound, key="f"),
            MessageRequest(jane.id, "email", holed, key="before"),
            MessageRequest(jane.id, "email", sound, key="a"),
        ],
        now=clock.now(),
    )

    results = [
        outcome.message.key if isinstance(outcome, EnqueuedMessage) else str(outcome.reason)
        for outcome in outcomes
    ]
    assert results == ["a", "no_address", "opted_out", "value_missing", "e", "erased", "before", "a"]
    assert outcomes[6].message == before
    assert Message.objects.count() == 3
    assert sorted(Decision.objects.values_list("reason", flat=True)) == [
        "erased",
        "no_address",
        "opted_out",
        "value_missing",
    ]


@pytest.mark.django_db(transaction=True)
def test_two_that_reserve_under_one_key_at_once_get_one_message(monkeypatch):
    workspace = WorkspaceFactory()
    jane = a_contact(workspace, "jane@example.test")
    template = a_template(workspace)
    together = Barrier(2)
    find = queue._messages_by_key

    def find_together(*arguments):
        """Let both see that there is none yet."""
        found = find(*arguments)
        together.wait(10)
        return found

    monkeypatch.setattr(queue, "_messages_by_key", find_together)
    outcomes = []

    def race():
        outcomes.append(reserve(jane, template, key="one"))
        connections.close_all()

    threads = [Thread(target=race) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Message.objects.count() == 1
    assert {outcome.message.pk for outcome in outcomes} == {Message.objects.get().pk}
