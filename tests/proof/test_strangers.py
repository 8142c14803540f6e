"""What anybody may ask costs no more work than a few sends: none of it starves those who send events."""

import time

import pytest
from django.templatetags.static import static
from django.test import Client

from campaigns.forms.forms import FormValues, create_form
from campaigns.messaging.public_links import unsubscribe_token
from campaigns.messaging.tracking_links import click_url, open_url
from campaigns.models import Message
from config import clock
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

pytestmark = pytest.mark.django_db(transaction=True)

MOST_SENDS = 15
"""As dear as this many; a page that is made anew of everything, as the API's document once was, costs hundreds."""


def least_work(ask, times=6):
    """Return the CPU seconds of the cheapest of several requests, the first of which may have had more to do."""
    costs = []
    for _ in range(times):
        began = time.process_time()
        answer = ask()
        assert answer.status_code < 500
        b"".join(answer)
        costs.append(time.process_time() - began)
    return min(costs)


def test_what_strangers_ask_costs_a_few_sends():
    workspace = WorkspaceFactory.create()
    contact = a_contact(workspace, email="ada@example.test")
    message = Message.objects.create(
        workspace=workspace,
        contact=contact,
        key="1",
        channel="email",
        address="ada@example.test",
        body="<p>Hello",
        status=Message.Status.SENT,
        sent_at=clock.now(),
    )
    form = create_form(
        workspace.id, FormValues(name="f", fields=[{"name": "mail", "type": "email", "required": True}])
    )
    token = unsubscribe_token(workspace.pk, contact.pk, "email", message.pk)
    client, headers = Client(), bearer(a_key(workspace).secret)
    host = "http://localhost:8000"
    pages = {
        "document": "/api/openapi",
        "documentation": "/docs",
        "script": static("drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"),
        "style": static("headrace/admin.css"),
        "admin": "/admin/login/",
        "oauth": "/oauth2/login",
        "embed": f"/api/forms/{form.pk}/embed.js",
        "open": open_url(message.pk).removeprefix(host),
        "click": click_url(message.pk, "https://shop.test/").removeprefix(host),
        "unsubscribe": f"/unsubscribe/{token}",
        "preferences": f"/preferences/{token}",
        "nothing": "/no/such/page",
    }
    send = least_work(
        lambda: client.post(
            f"/api/workspaces/{workspace.pk}/events",
            {"type": "view"},
            content_type="application/json",
            **headers,
        )
    )
    costs = {name: least_work(lambda path=path: client.get(path)) / send for name, path in pages.items()}
    costs["submit"] = (
        least_work(
            lambda: client.post(
                f"/api/forms/{form.pk}/submit", {"mail": "ada@example.test"}, content_type="application/json"
            )
        )
        / send
    )
    assert not {name: round(cost, 1) for name, cost in costs.items() if cost > MOST_SENDS}
