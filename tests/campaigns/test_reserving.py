from campaigns.models import Decision, Message
from campaigns.services.messages import Refused, Reserved, WebhookRequest
from tests.campaigns.messages import a_template, reserve


def test_a_message_is_rendered_when_it_is_reserved(workspace, jane, time):
    reserved = reserve(jane, a_template(workspace))

    assert isinstance(reserved, Reserved)
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


def test_a_hole_is_refused_and_the_reason_is_on_record(workspace, jane):
    refused = reserve(jane, a_template(workspace, "Dear {{ contact.firstName }}"))

    assert isinstance(refused, Refused)
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
