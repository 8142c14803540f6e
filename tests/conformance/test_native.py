"""The seed's own words, by a plain HTTP client: once with a session and its CSRF token, once with a key."""

import pytest
from django.test import Client

from tests.contacts.factories import a_contact
from tests.workspaces.factories import PASSWORD, MembershipFactory, a_key, bearer
from workspaces.models import Role

pytestmark = pytest.mark.django_db

# Verbatim but for the contact, whose id is ours to give.
SEED_BODY = """{
"type": "purchase",
"contactId": "ct_abc123",
"metadata": {
"productId": "prod_1",
"amount": 99.99,
"currency": "USD"
},
"sessionId": "sess_abc",
"pageUrl": "https://shop.example.com/checkout",
"referrer": "https://shop.example.com/cart",
"utmSource": "email",
"utmMedium": "campaign",
"utmCampaign": "summer-sale"
}"""
COMMON_TYPES = [
    "page_view",
    "form.submitted",
    "purchase",
    "signup",
    "message.open",
    "message.click",
    "telegram.message_received",
    "anything else",
]


@pytest.fixture
def membership():
    return MembershipFactory(role=Role.EDITOR)


@pytest.fixture
def with_session(membership):
    """A browser: signed in, sending the cookie and the CSRF token of the sign-in's answer."""
    client = Client(enforce_csrf_checks=True)
    answer = client.post(
        "/api/auth/login",
        {"email": membership.user.email, "password": PASSWORD},
        content_type="application/json",
    )
    assert answer.status_code == 200
    return client, {"HTTP_X_CSRFTOKEN": answer.json()["csrfToken"]}


@pytest.fixture
def with_key(membership):
    return Client(), bearer(
        a_key(membership.workspace, scopes=["events:write", "events:read", "contacts:read"]).secret
    )


@pytest.fixture(params=["with_session", "with_key"])
def sender(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def url(membership):
    return f"/api/workspaces/{membership.workspace.id}/events"


def test_the_seeds_body_is_answered_as_promised(sender, membership, url):
    client, headers = sender
    contact = a_contact(membership.workspace, "jane@example.com", first_name="Jane", last_name="Smith")
    body = SEED_BODY.replace("ct_abc123", str(contact.id))

    answer = client.post(url, body, content_type="application/json", **headers)

    assert answer.status_code == 201
    event = answer.json()
    assert event["type"] == "purchase"
    assert event["metadata"] == {"productId": "prod_1", "amount": 99.99, "currency": "USD"}
    assert event["utmCampaign"] == "summer-sale"
    listed = client.get(url, {"type": "purchase", "contactId": str(contact.id)}, **headers).json()
    assert listed == [
        {
            "id": event["id"],
            "type": "purchase",
            "metadata": event["metadata"],
            "timestamp": event["timestamp"],
            "contact": {
                "id": str(contact.id),
                "email": "jane@example.com",
                "firstName": "Jane",
                "lastName": "Smith",
            },
        }
    ]


def test_the_seeds_own_contact_is_unknown(sender, url):
    client, headers = sender
    answer = client.post(url, SEED_BODY, content_type="application/json", **headers)

    assert (answer.status_code, answer.json()) == (404, {"error": "Contact not found"})


@pytest.mark.parametrize("type_", COMMON_TYPES)
def test_every_type_may_be_sent(with_key, url, type_):
    client, headers = with_key
    answer = client.post(url, {"type": type_}, content_type="application/json", **headers)

    assert (answer.status_code, answer.json()["type"]) == (201, type_)


def test_a_session_writes_with_its_csrf_token_only(with_session, url):
    client, headers = with_session

    assert client.post(url, {"type": "x"}, content_type="application/json").status_code == 403
    assert client.post(url, {"type": "x"}, content_type="application/json", **headers).status_code == 201


def test_who_is_nobody_gets_401_and_who_is_no_member_403(url):
    stranger = MembershipFactory()
    client = Client()
    assert client.get(url).status_code == 401
    client.login(username=stranger.user.username, password=PASSWORD)
    answer = client.get(url)
    assert (answer.status_code, set(answer.json())) == (403, {"error"})
    assert client.get("/api/workspaces/clx123/events").status_code == 403


def test_a_viewer_reads_only(url, membership):
    viewer = MembershipFactory(workspace=membership.workspace, role=Role.VIEWER)
    client = Client()
    client.login(username=viewer.user.username, password=PASSWORD)

    assert client.get(url).status_code == 200
    assert client.post(url, {"type": "x"}, content_type="application/json").status_code == 403


def test_an_unknown_route_answers_in_the_same_format(url):
    for path in ("/api/nothing", f"{url}/a/b/c"):
        answer = Client().post(path, {})
        assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})
