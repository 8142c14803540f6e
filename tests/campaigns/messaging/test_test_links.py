"""Links of tests and previews act on nobody, and say so."""

import re

import pytest
from django.test import Client

from campaigns.messaging.preview import preview_template
from campaigns.messaging.provider_reports import Report, record_report
from campaigns.messaging.public_links import unsubscribe_token
from campaigns.messaging.suppressions import preferences_of
from campaigns.messaging.tracking_links import click_url, open_url
from campaigns.models import Message, Suppression
from config import clock
from contacts.models import Consent
from events.models import Event
from tests.campaigns.messages import a_message, a_template

BODY = "{{ unsubscribeUrl }} {{ preferencesUrl }}"
NOTICE = b"acts on nobody"


@pytest.fixture(params=["test", "elsewhere", "preview", "older"])
def links(request, workspace, jane):
    """The paths of a test's two links, however it came about."""
    template = a_template(workspace, BODY)
    match request.param:
        case "test":
            body = a_message(jane, template, is_test=True).body
        case "elsewhere":
            body = a_message(jane, template, is_test=True, address="staff@ours.test").body
        case "preview":
            body = preview_template(workspace.id, template, jane.id).body
        case "older":
            message = a_message(jane, template, is_test=True)
            token = unsubscribe_token(workspace.id, jane.id, "email", message.id)
            body = f"http://localhost:8000/unsubscribe/{token} http://localhost:8000/preferences/{token}"
    return [url.removeprefix("http://localhost:8000") for url in body.split()]


@pytest.fixture
def unchanged(workspace, jane):
    """See to it that nothing is known afterwards of what the person wants."""
    yield
    assert not Consent.objects.exists()
    assert preferences_of(workspace.id, jane.id) == {"email": True, "telegram": True}
    assert not Event.objects.filter(source="system").exclude(name="contact.created").exists()
    assert not Message.objects.filter(status="UNSUBSCRIBED").exists()


@pytest.mark.usefixtures("unchanged")
def test_the_pages_of_a_test_say_so_and_do_nothing(links):
    unsubscribe, preferences = links
    one_click = {"data": "List-Unsubscribe=One-Click", "content_type": "application/x-www-form-urlencoded"}

    for answer in (
        Client().get(unsubscribe),
        Client().post(unsubscribe, **one_click),
        Client().get(preferences),
        Client().post(preferences, {"channel": []}),
        Client().post(preferences, {"channel": ["telegram"]}),
    ):
        assert answer.status_code == 200
        assert NOTICE in answer.content


@pytest.mark.usefixtures("unchanged")
def test_programs_are_told_that_it_is_a_test(links):
    token = links[0].rpartition("/")[2]

    for answer in (
        Client().get("/api/unsubscribe", {"token": token}),
        Client().post(f"/api/unsubscribe?token={token}"),
    ):
        assert answer.json() == {"channel": "email", "subscribed": True, "test": True}
    url = f"/api/preferences?token={token}"
    for answer in (Client().get(url), Client().put(url, {"email": False}, content_type="application/json")):
        assert answer.json() == {"email": True, "telegram": True, "test": True}


@pytest.mark.usefixtures("unchanged")
def test_a_test_has_list_headers_that_do_nothing(workspace, jane):
    message = a_message(jane, a_template(workspace), is_test=True)

    url = re.fullmatch(r"<http://localhost:8000(.*)>", message.headers["List-Unsubscribe"])[1]
    assert NOTICE in Client().post(url, {"List-Unsubscribe": "One-Click"}).content


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("kind", ["unsubscribed", "complained", "rejected"])
def test_what_a_provider_reports_of_a_test_unsubscribes_nobody(workspace, jane, kind):
    message = a_message(jane, a_template(workspace), is_test=True, address="staff@ours.test")
    Message.objects.update(status="SENT", sent_at=clock.now())

    report = Report(kind, clock.now(), message.id, reason="unsubscribed" if kind == "rejected" else "")
    assert record_report(report) == "done"

    assert set(Suppression.objects.values_list("address", flat=True)) <= {"staff@ours.test"}


@pytest.mark.usefixtures("unchanged")
def test_opens_and_clicks_of_a_test_are_nobody_s(workspace, jane):
    message = a_message(jane, a_template(workspace), is_test=True)
    Message.objects.update(status="SENT")

    agent = {"HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
    for url in (open_url(message.id), click_url(message.id, "https://x.test/")):
        assert Client().get(url.removeprefix("http://localhost:8000"), **agent).status_code in (200, 302)

    message.refresh_from_db()
    assert (message.status, message.opened_at, message.clicked_at) == ("SENT", None, None)


def test_a_test_of_a_double_opt_in_confirms_nothing(workspace, jane):
    event = Event.objects.create(
        workspace=workspace, contact=jane, name="form.submitted", properties={}, occurred_at=clock.now()
    )
    template = a_template(workspace, "{{ event.properties.confirmUrl }}")

    for body in (
        preview_template(workspace.id, template, jane.id, event=event).body,
        a_message(jane, template, is_test=True, event=event).body,
    ):
        path = body.removeprefix("http://localhost:8000")
        assert NOTICE in Client().get(path).content
        assert NOTICE in Client().post(path).content
    assert not Consent.objects.exists()
