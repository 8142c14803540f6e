"""Every route of the site, asked with every kind of credential of another workspace."""

import json
import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.crypto import get_random_string
from oauth2_provider.models import get_access_token_model

from campaigns.forms.forms import FormValues, create_form
from campaigns.models import (
    Broadcast,
    Campaign,
    ChannelSettings,
    Enrollment,
    Form,
    Message,
    Suppression,
    Template,
)
from config import clock
from contacts.models import Contact, ContactScore, Tag
from contacts.profiles.fields import create_field
from events.models import Event, EventDefinition
from events.stream.definitions import PropertySpec, create_definition
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from segments.definitions import create_segment
from segments.models import Membership as InSegment
from segments.models import Segment
from segments.static_members import add_members
from tests.campaigns.rows import (
    a_campaign_row,
    a_decision,
    a_message,
    a_submission,
    a_suppression,
    a_template_row,
    an_enrollment,
)
from tests.contacts.factories import a_contact
from tests.stream import record_event
from tests.workspaces.factories import PASSWORD, MembershipFactory, WorkspaceFactory, a_key, an_application
from workspaces.authentication.jwt import issue_tokens
from workspaces.models import ApiKey

pytestmark = pytest.mark.django_db

_MODELS = (
    *(Contact, Tag, Event, EventDefinition, ScoringRule, Segment, InSegment, ApiKey),
    *(Broadcast, Campaign, Enrollment, Message, Template, Form, Suppression, ChannelSettings),
)

METHODS = ("get", "post", "put", "patch", "delete")
SECRET = "tellnobody"
# Not of a workspace: signing in, the documentation, the admin (staff only, its own tests), static pages.
PUBLIC = ("admin/", "docs", "api/openapi", "api/health", "api/auth/", "oauth2/", "^api/", "static", "health")


def routes() -> Iterator[str]:
    def walk(patterns, prefix):
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern):
                yield route

    for route in walk(get_resolver().url_patterns, ""):
        # What a vendor's router makes of `contacts/<contact>`, as Django's own routes have it.
        plain = re.sub(r"\(\?P(<\w+>)[^()]*\)", r"\1", route).replace("^", "").replace("\\Z", "")
        if not plain.startswith(PUBLIC):
            yield plain


class Victim:
    """A workspace with one of everything, each marked by the secret word."""

    def __init__(self) -> None:
        self.workspace = WorkspaceFactory(name=f"{SECRET} inc")
        self.contact = a_contact(
            self.workspace,
            f"{SECRET}@example.test",
            first_name=SECRET,
            attributes={"word": SECRET},
            tags=(SECRET,),
            identifiers=(("external_id", f"{SECRET}-1"),),
        )
        create_field(self.workspace.id, SECRET, "text")
        self.definition = create_definition(
            self.workspace.id, f"{SECRET}_event", properties=[PropertySpec("word", "string")]
        )
        incoming = IncomingEvent(name=f"{SECRET}_event", properties={"word": SECRET})
        outcome = record_event(self.workspace, incoming, schema_policy=SchemaPolicy.OPEN)
        assert outcome.event is not None
        self.event_id = outcome.event.id
        self.rule = ScoringRule.objects.create(
            workspace=self.workspace, name=SECRET, event_name=f"{SECRET}_event", points=1
        )
        ContactScore.objects.create(workspace=self.workspace, contact=self.contact, points=7)
        # By hand: whatever changes who is in it would show at once.
        self.segment = create_segment(self.workspace.id, name=SECRET, evaluation=Segment.Evaluation.STATIC)
        add_members(self.workspace.id, self.segment, contact_ids=[self.contact.id])
        # Drafts and drafts' things: whatever starts, stops or changes them would show.
        self.campaign = a_campaign_row(self.workspace, SECRET)
        self.broadcast = Broadcast.objects.create(
            workspace=self.workspace,
            campaign=self.campaign,
            contact_ids=[self.contact.id],
            due_at=clock.now(),
        )
        self.run = an_enrollment(self.campaign, self.contact, step=SECRET)
        a_decision(
            self.campaign, self.contact, "entered", SECRET, enrollment_id=self.run.id, event_id=self.event_id
        )
        self.message = a_message(self.contact, self.campaign, subject=SECRET, status="UNKNOWN")
        self.template = a_template_row(self.workspace, SECRET)
        asked = [{"name": "mail", "type": "email", "required": True}]
        self.form = create_form(self.workspace.id, FormValues(name=SECRET, fields=asked))
        a_submission(self.form, self.contact, answers={"word": SECRET})
        self.suppression = a_suppression(self.workspace, f"{SECRET}@b.test")
        ChannelSettings.objects.create(workspace=self.workspace, channel="email", sender=f"{SECRET}@b.test")
        self.key = a_key(self.workspace)

    def urls(self, route: str) -> Iterator[str]:
        """The route, filled with this workspace's ids."""
        names = {
            "workspace": [self.workspace.id],
            "contact": [self.contact.id, f"{SECRET}@example.test"],
            "event": [self.event_id],
            "definition": [self.definition.id],
            "rule": [self.rule.id],
            "segment": [self.segment.id],
            "campaign": [self.campaign.id],
            "broadcast": [self.broadcast.id],
            "run": [self.run.id],
            "message": [self.message.id],
            "template": [self.template.id],
            "form": [self.form.id],
            "suppression": [self.suppression.id],
            "channel": ["email"],
            "field": [SECRET],
            "name": [f"{SECRET}_event"],
            "user": [f"{SECRET}-1"],
        }
        urls = [""]
        for part in route.replace("<", "\0<").replace(">", ">\0").split("\0"):
            fill = [part]
            if part.startswith("<"):
                name = part.strip("<>").partition(":")[2] or part.strip("<>")
                fill = next((values for key, values in names.items() if name.startswith(key)), [SECRET])
            urls = [url + str(one) for url in urls for one in fill]
        return iter(f"/{url}" for url in urls)

    def state(self) -> dict[str, list[object]]:
        """All rows that a request could change."""
        return {
            model.__name__: list(model.objects.filter(workspace=self.workspace).order_by("pk").values())
            for model in _MODELS
        }

    def body(self) -> dict[str, object]:
        """A body that names this workspace's things to whatever endpoint."""
        contact_id = str(self.contact.id)
        return {
            "type": "probe",
            "event_name": "probe",
            "eventName": "probe",
            "contactId": contact_id,
            "contactIds": [contact_id],
            "personId": contact_id,
            "contactID": contact_id,
            "contact": {"id": contact_id},
            "metadata": {},
            "keyId": str(self.key.api_key.id),
        }


@pytest.fixture
def victim():
    return Victim()


def api_key(workspace, user):
    return {"HTTP_AUTHORIZATION": f"Bearer {a_key(workspace).secret}"}, Client()


def session(workspace, user):
    client = Client()
    assert client.login(username=user.username, password=PASSWORD)
    return {}, client


def jwt(workspace, user):
    return {"HTTP_AUTHORIZATION": f"Bearer {issue_tokens(user, str(workspace.id)).access}"}, Client()


def oauth(workspace, user):
    application = an_application(workspace).application
    token = get_access_token_model().objects.create(
        token=get_random_string(40),
        application=application,
        expires=clock.now().replace(year=clock.now().year + 1),
        scope=" ".join(scope.replace(":", ".") for scope in application.scopes),
    )
    return {"HTTP_AUTHORIZATION": f"Bearer {token.token}"}, Client()


def nobody(workspace, user):
    return {}, Client()


@pytest.fixture(params=[api_key, session, jwt, oauth, nobody], ids=lambda make: make.__name__)
def stranger(request):
    """A client with a credential of its own workspace, and its headers."""
    membership = MembershipFactory()
    return request.param(membership.workspace, membership.user)


def test_the_walk_sees_every_wire_format():
    found = list(routes())

    assert len(found) > 20
    assert {route.split("/")[0] for route in found} >= {
        "api",
        "v1",
        "v4",
        "leadpush",
        "autosend",
        "suresend",
        "segment",
    }


def test_no_route_opens_another_workspace(victim, stranger):
    headers, client = stranger
    before = victim.state()
    for route in routes():
        for url in victim.urls(route):
            for method in METHODS:
                body = json.dumps(victim.body())
                answer = client.generic(method.upper(), url, body, content_type="application/json", **headers)
                _assert_refused(f"{method} {url}", answer, names_workspace="<str:workspace" in route)
    assert victim.state() == before


def test_the_same_refusal_whether_a_workspace_exists_or_not(victim, stranger):
    headers, client = stranger
    for route in routes():
        if "workspace" not in route:
            continue
        for url in victim.urls(route):
            other = url.replace(str(victim.workspace.id), "01234567-89ab-7def-8123-456789abcdef")
            there, not_there = client.get(url, **headers), client.get(other, **headers)
            assert (there.status_code, there.content) == (not_there.status_code, not_there.content), url


def _assert_refused(what, answer, *, names_workspace):
    assert answer.status_code < 500, what
    echoed = answer.content.decode(errors="replace")
    assert f'"word":"{SECRET}"' not in echoed.replace(" ", ""), what
    assert f"{SECRET} inc" not in echoed, what
    if names_workspace:
        assert answer.status_code in (401, 403, 405), (what, answer.status_code)
        assert SECRET not in echoed, what
