"""Scopes: the table of docs/api.md is what the code asks for, and each of its rules holds."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from config.ids import uuid7
from contacts.references import ContactReference
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.rows import a_campaign_row, a_message, a_template_row, an_enrollment
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.segments.factories import a_segment
from tests.stream import record_event as record
from tests.workspaces.factories import MembershipFactory, WorkspaceFactory, a_key, an_application, bearer
from workspaces.api.base import WorkspaceAccess
from workspaces.authentication.jwt import issue_tokens
from workspaces.scopes import ALL_SCOPES, SCOPES

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
BEGIN, END = "<!-- scopes -->", "<!-- end of scopes -->"
HEAD = ["| route | method | scopes | further scopes |", "| --- | --- | --- | --- |"]
OPEN = {("workspaces/{workspaceId}", "GET")}
"""What any credential of the workspace may have."""
OPEN_OF_VENDORS = re.compile(r"(?:omnisend/)?(?:v3|v5|api)/\^(?:brands/current|accounts|batches)\b.*")
"""Checks of a key; and batches, which need the scope of what is in them."""


def views() -> Iterator[tuple[str, type[WorkspaceAccess], dict[str, str]]]:
    """Yield the routes that ask for scopes, each with its view and its methods, a viewset's with the action."""

    def walk(patterns, prefix):
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern):
                found = getattr(pattern.callback, "cls", None) or getattr(
                    pattern.callback, "view_class", None
                )
                if isinstance(found, type) and issubclass(found, WorkspaceAccess):
                    actions = getattr(pattern.callback, "actions", None)
                    names = actions or {name: "" for name in found.http_method_names if hasattr(found, name)}
                    methods = {name.upper(): action for name, action in names.items()}
                    yield route, found, {name: methods[name] for name in methods.keys() - {"HEAD", "OPTIONS"}}

    yield from walk(get_resolver().url_patterns, "")


def rows() -> list[str]:
    """Return the table's lines, as the code is."""
    lines = []
    for route, view, methods in views():
        if not route.startswith("api/workspaces"):
            continue
        for method in sorted(methods):
            needs = "; ".join(
                f"{_spelled(need.scopes)}: {need.when}"
                for need in view.needs
                if need.method == method and need.action in ("", methods[method])
            )
            cells = _path(route), method, _spelled(view.scopes_of(method, methods[method]) or ""), needs
            lines.append("| " + " | ".join(cell or "—" for cell in cells) + " |")
    return lines


def _path(route: str) -> str:
    words = [word.replace("<str:", "{").replace(">", "}") for word in route.removeprefix("api/").split("/")]
    return "/".join(
        "{" + _camel(word.strip("{}")) + "}" if word.startswith("{") else word for word in words
    ).replace("workspaces/{workspaceId}/", "")


def _camel(name: str) -> str:
    first, *further = name.split("_")
    return first + "".join(map(str.title, further))


def _spelled(scopes: str) -> str:
    return " ".join(f"`{scope}`" for scope in scopes.split())


def test_the_document_has_every_route_as_the_code_asks_for_it():
    text = DOCUMENT.read_text()
    table = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    assert table == [*HEAD, *rows()], "\n".join(["docs/api.md should have:", *HEAD, *rows()])


def test_no_route_is_open_to_any_credential_by_oversight():
    routes, is_open, unknown = list(views()), [], {}
    for route, view, methods in routes:
        for method in methods:
            scopes = view.scopes_of(method, methods[method]) or ""
            if not scopes and (_path(route), method) not in OPEN and not OPEN_OF_VENDORS.fullmatch(route):
                is_open.append((method, route))
            unknown[method, route] = set(scopes.split()) - SCOPES.keys()
        for need in view.needs:
            unknown[need.method, route, need.when] = set(need.scopes.split()) - SCOPES.keys()
    assert len(routes) > 200
    assert not is_open
    assert not any(unknown.values()), {place: scopes for place, scopes in unknown.items() if scopes}


def native() -> Iterator[tuple[str, str, str]]:
    """Yield every route of the native API with a method and one of the scopes that it needs."""
    for route, view, methods in views():
        if route.startswith("api/workspaces"):
            for method in sorted(methods):
                for scope in (view.scopes_of(method, methods[method]) or "").split():
                    yield route, method, scope


@pytest.mark.django_db
def test_each_scope_that_a_route_needs_is_asked_for_and_named():
    workspace = WorkspaceFactory()
    lacking = {scope: but(workspace, scope) for scope in SCOPES}
    for route, method, scope in native():
        client = lacking[scope]
        path = route.removeprefix("api/").replace("<str:workspace_id>", str(workspace.id))
        parts = [str(uuid7()) if part.startswith("<") else part for part in path.split("/")]
        answer = client.client.generic(method, "/api/" + "/".join(parts), "{}", **client.headers)
        assert (answer.status_code, answer.json()["error"]) == (403, f"This needs the scope {scope}."), route


def but(workspace, *scopes):
    """Return a client that has all scopes but these."""
    return NativeClient(workspace, secret=a_key(workspace, scopes=sorted(ALL_SCOPES - set(scopes))).secret)


def only(workspace, *scopes):
    return NativeClient(workspace, secret=a_key(workspace, scopes=sorted(scopes)).secret)


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.test", first_name="Jane", attributes={"salary": 1})


def record_event(workspace, name, contact):
    incoming = IncomingEvent(name, ContactReference(id=str(contact.id)))
    return record(workspace, incoming, schema_policy=SchemaPolicy.OPEN).recorded()


def refused(answer, scope):
    assert answer.status_code == 403, answer.content
    assert scope in answer.json()["error"]
    assert b"jane@" not in answer.content


WHOLE = "{{ contact | json }} {{ event | json }}"


def test_with_campaigns_read_alone_nobody_s_values_are_rendered(workspace, jane):
    template = a_template_row(workspace, body=WHOLE)
    reader, writer = only(workspace, "campaigns:read"), only(workspace, "campaigns:read", "messages:write")
    whom = {"contactId": str(jane.id)}
    refused(reader.post(f"templates/{template.id}/preview", whom), "contacts:read")
    refused(reader.post("templates/preview", {**whom, "subject": "x", "body": WHOLE}), "contacts:read")
    refused(writer.post(f"templates/{template.id}/test", {**whom, "to": "me@example.test"}), "contacts:read")
    refused(
        writer.post("messages", {**whom, "channel": "EMAIL", "subject": "x", "body": WHOLE}), "contacts:read"
    )


def test_an_event_is_rendered_for_who_may_read_it(workspace, jane):
    template = a_template_row(workspace, body="{{ event.type }}")
    event = record_event(workspace, "paid", jane)
    blind = but(workspace, "events:read")
    whom = {"contactId": str(jane.id), "eventId": str(event.id)}
    tried = {**whom, "subject": "x", "body": "x"}
    refused(blind.post(f"templates/{template.id}/preview", whom), "events:read")
    refused(blind.post(f"templates/{template.id}/test", whom), "events:read")
    refused(blind.post("templates/preview", tried), "events:read")
    refused(blind.post("messages", {**tried, "channel": "EMAIL"}), "events:read")
    campaign = a_campaign_row(workspace)
    refused(blind.post(f"campaigns/{campaign.id}/execute", whom), "events:read")
    assert blind.post("templates/preview", {**tried, "eventId": None}).status_code == 200


def test_a_template_is_sent_by_who_may_read_it(workspace, jane):
    template = a_template_row(workspace)
    wanted = {"contactId": str(jane.id), "channel": "EMAIL", "templateId": str(template.id)}
    refused(but(workspace, "campaigns:read").post("messages", wanted), "campaigns:read")


def steps(*nodes):
    return {
        "nodes": [{"id": str(place), **node} for place, node in enumerate(nodes)],
        "edges": [{"source": str(n), "target": str(n + 1)} for n in range(len(nodes) - 1)],
    }


def definition(**more):
    return {"name": "C", "type": "AUTOMATED", "triggers": [{"type": "MANUAL"}], **more}


RULE = {"operator": "AND", "conditions": [{"type": "attribute", "field": "email", "operator": "exists"}]}
DOES = {
    "contacts:write": steps({"type": "tag", "data": {"add": ["vip"]}}),
    "contacts:write ": steps({"type": "update", "data": {"attributes": {"vip": True}}}),
    "events:write": steps({"type": "record", "data": {"eventType": "seen"}}),
    "messages:write": steps({"type": "webhook", "data": {"url": "https://hook.test", "body": "{}"}}),
    "contacts:read": steps({"type": "webhook", "data": {"url": "https://hook.test", "body": "{}"}}),
    "events:read": steps({"type": "webhook", "data": {"url": "https://hook.test", "body": "{}"}}),
}


@pytest.mark.parametrize("scope", DOES)
def test_what_a_campaign_does_its_author_must_be_allowed_to(workspace, jane, scope):
    body, lacking, able = definition(workflow=DOES[scope]), but(workspace, scope.strip()), but(workspace)
    scope = scope.strip()
    refused(lacking.post("campaigns", body), scope)
    assert lacking.post("campaigns", {**body, "workflow": None}).status_code in (201, 400)
    made = able.post("campaigns", {**body, "name": "D"})
    assert made.status_code == 201, made.json()
    campaign = f"campaigns/{made.json()['id']}"
    refused(lacking.patch(campaign, {"workflow": DOES[scope]}), scope)
    refused(lacking.patch(campaign, {"triggers": []}), scope)
    assert lacking.patch(campaign, {"name": "E"}).status_code == 200
    refused(lacking.post(f"{campaign}/activate", {}), scope)
    refused(lacking.post(f"{campaign}/execute", {"contactId": str(jane.id), "isTest": True}), scope)
    assert able.post(f"{campaign}/activate", {}).status_code == 200
    refused(lacking.post(f"{campaign}/execute", {"contactId": str(jane.id)}), scope)
    refused(lacking.post(f"{campaign}/broadcasts", {"contactIds": [str(jane.id)]}), scope)
    assert lacking.post(f"{campaign}/pause", {}).status_code == 200


def test_a_send_step_needs_messages_write(workspace):
    template = a_template_row(workspace)
    workflow = steps({"type": "send", "data": {"templateId": str(template.id)}})
    refused(
        but(workspace, "messages:write").post("campaigns", definition(workflow=workflow)), "messages:write"
    )


@pytest.mark.parametrize(
    ("leaf", "scope"),
    [
        ({"type": "attribute", "field": "attributes.salary", "operator": "gt", "value": 5}, "contacts:read"),
        ({"type": "tag", "value": "vip"}, "contacts:read"),
        ({"type": "channel", "channel": "EMAIL"}, "contacts:read"),
        ({"type": "company"}, "contacts:read"),
        ({"type": "event", "eventType": "paid", "operator": "gte", "value": 1}, "events:read"),
        ({"type": "segment", "segmentId": "SEGMENT"}, "segments:read"),
    ],
)
def test_a_rule_asks_of_what_its_author_may_read(workspace, leaf, scope):
    segment = a_segment(workspace, RULE, name="Other")
    leaf = {**leaf, "segmentId": str(segment.id)} if "segmentId" in leaf else leaf
    rule = {"operator": "AND", "conditions": [{"operator": "NOT", "conditions": [leaf]}]}
    lacking, able = but(workspace, scope), but(workspace)
    wrong = [
        lacking.post("segments", {"name": "S", "rules": rule, "evaluation": "DYNAMIC"}),
        lacking.patch(f"segments/{segment.id}", {"rules": rule}),
        lacking.post("segments/preview", {"rules": rule}),
        lacking.post(f"segments/{segment.id}/impact", {"rules": rule}),
        lacking.post("scoring-rules", {"name": "R", "eventType": "x", "delta": 1, "condition": rule}),
        lacking.post("scoring-rules/preview", {"name": "R", "eventType": "x", "delta": 1, "condition": rule}),
        lacking.post("campaigns", definition(exits=[{"condition": rule}])),
        lacking.post("campaigns", definition(triggers=[{"type": "EVENT", "eventType": "x", "condition": rule}])),
        lacking.post("campaigns", definition(goal={"eventType": "x", "within": "1d", "condition": rule})),
        lacking.post("campaigns", definition(workflow=steps(
            {"type": "branch", "data": {"branches": [{"handle": "a", "condition": rule}]}}))),
    ]  # fmt: skip
    for answer in wrong:
        refused(answer, scope)
    explained = able.post("segments", {"name": "S", "rules": rule, "evaluation": "DYNAMIC"})
    assert explained.status_code == 201, explained.json()


def test_an_explanation_is_for_who_may_read_what_it_shows(workspace, jane):
    rule = {"operator": "AND", "conditions": [
        {"type": "event", "eventType": "paid", "operator": "gte", "value": 1}]}  # fmt: skip
    segment = a_segment(workspace, rule)
    path = f"segments/{segment.id}/contacts/{jane.id}/explanation"
    refused(but(workspace, "events:read").get(path), "events:read")
    assert but(workspace, "messages:read").get(path).status_code == 200


def test_segments_in_triggers_and_schedules_are_read(workspace):
    segment = a_segment(workspace, RULE)
    blind = but(workspace, "segments:read")
    for kind in ("SEGMENT_ENTER", "SEGMENT_EXIT", "SCHEDULE"):
        triggers = [{"type": kind, "segmentId": str(segment.id)}]
        refused(blind.post("campaigns", definition(triggers=triggers)), "segments:read")
    campaign = a_campaign_row(workspace, status="ACTIVE")
    wanted = f"campaigns/{campaign.id}/broadcasts"
    refused(blind.post(wanted, {"segmentId": str(segment.id)}), "segments:read")
    refused(but(workspace, "contacts:read").post(wanted, {"contactIds": []}), "contacts:read")


def test_a_contact_s_answer_has_the_sections_that_the_key_may_read(workspace, jane):
    record_event(workspace, "paid", jane)
    an_enrollment(a_campaign_row(workspace), jane)
    a_message(jane)
    sections = {"events", "segments", "campaigns", "messages"}
    shown = only(workspace, "contacts:read").get(f"contacts/{jane.id}").json()
    assert shown["email"] == "jane@example.test"
    assert not sections & shown.keys()
    for section in sections:
        answer = only(workspace, "contacts:read", f"{section}:read").get(f"contacts/{jane.id}").json()
        assert sections & answer.keys() == {section}


def test_the_list_is_narrowed_by_what_the_key_may_read(workspace, jane):
    reader = only(workspace, "contacts:read")
    refused(reader.get("contacts", segmentId=str(uuid7())), "segments:read")
    refused(reader.get("contacts", minScore="1"), "scoring:read")
    assert reader.get("contacts", search="jane").status_code == 200
    assert only(workspace, "contacts:read", "scoring:read").get("contacts", minScore="1").status_code == 200


def test_an_event_s_contact_is_shown_to_who_may_read_contacts(workspace, jane):
    sender, reader = only(workspace, "events:write"), only(workspace, "events:read")
    answer = sender.post("events", {"type": "paid", "contactId": str(jane.id)})
    assert answer.status_code == 201
    nobody = {"id": str(jane.id), "email": None, "firstName": None, "lastName": None}
    assert (answer.json()["contact"], answer.json()["contactId"]) == (nobody, str(jane.id))
    found = reader.get("events", type="paid").json()
    assert [event["contact"] for event in found] == [nobody]
    assert reader.get(f"events/{answer.json()['id']}").json()["contact"] == nobody
    whole = only(workspace, "events:write", "contacts:read").post(
        "events", {"type": "paid", "contactId": str(jane.id)}
    )
    assert whole.json()["contact"]["email"] == "jane@example.test"


def test_what_events_note_of_contacts_is_for_who_may_read_contacts(workspace, jane):
    whole, reader = but(workspace), but(workspace, "contacts:read")
    whole.patch(f"contacts/{jane.id}", {"firstName": "Joan", "attributes": {"salary": 77_777}})
    record_event(workspace, "paid", jane)
    for name in ("contact.created", "contact.updated"):
        (shown,) = whole.get("events", type=name).json()
        (blank,) = reader.get("events", type=name).json()
        assert shown["metadata"]["new"]
        assert blank["metadata"] == {}
        assert reader.get(f"events/{shown['id']}").json()["metadata"] == {}
    sent = {"type": "contact.updated", "contactId": str(jane.id), "metadata": {"ours": 1}}
    own = reader.post("events", sent).json()["id"]
    assert reader.get(f"events/{own}").json()["metadata"] == {"ours": 1}


def test_a_rule_about_what_events_note_of_contacts_asks_about_contacts(workspace):
    blind = but(workspace, "contacts:read")
    known = {"type": "property", "field": "properties.new.salary", "operator": "gt", "value": 5}
    leaf = {
        "type": "event",
        "eventType": "contact.updated",
        "operator": "gte",
        "value": 1,
        "filters": [known],
    }
    rule, about = ({"operator": "AND", "conditions": [condition]} for condition in (leaf, known))
    scoring = {"name": "R", "eventType": "contact.updated", "delta": 1, "condition": about}
    refused(blind.post("segments", {"name": "S", "rules": rule, "evaluation": "DYNAMIC"}), "contacts:read")
    refused(blind.post("scoring-rules", scoring), "contacts:read")
    for trigger in (
        {"type": "EVENT", "eventType": "contact.updated", "condition": about},
        {"type": "ATTRIBUTE_CHANGED", "field": "attributes.salary"},
        {"type": "TAG_ADDED", "tag": "vip"},
        {"type": "DATE", "field": "attributes.birthday"},
    ):
        refused(blind.post("campaigns", definition(triggers=[trigger])), "contacts:read")


def test_what_is_sent_is_written_by_who_may_send(workspace):
    able, unable = but(workspace), but(workspace, "messages:write")
    template, unsent = a_template_row(workspace), a_template_row(workspace, "Unsent")
    workflow = steps({"type": "send", "data": {"templateId": str(template.id)}})
    campaign = able.post("campaigns", definition(workflow=workflow)).json()["id"]
    for change in ({"body": "<p>Buy!</p>"}, {"sender": "Bank <bank@evil.test>"}, {"name": "Other"}):
        refused(unable.patch(f"templates/{template.id}", change), "messages:write")
    for change in ({"sender": "Bank <bank@evil.test>"}, {"replyTo": "me@evil.test"}):
        refused(unable.patch(f"campaigns/{campaign}", change), "messages:write")
    assert unable.patch(f"templates/{unsent.id}", {"body": "<p>Draft"}).status_code == 200
    assert unable.patch(f"campaigns/{campaign}", {"name": "Other"}).status_code == 200
    assert able.patch(f"templates/{template.id}", {"body": "<p>Hello!</p>"}).status_code == 200
    assert able.patch(f"campaigns/{campaign}", {"replyTo": "us@example.test"}).status_code == 200


def test_an_answer_is_given_again_to_who_may_read_as_much(workspace, jane):
    body, once = {"type": "paid", "contactId": str(jane.id)}, {"HTTP_IDEMPOTENCY_KEY": "once"}
    reader, sender = (only(workspace, "events:write", *more) for more in (["contacts:read"], []))
    alike = only(workspace, "events:write", "definitions:write", "contacts:read")
    first = reader.post("events", body, **once)
    assert first.json()["contact"]["email"] == "jane@example.test"
    other = sender.post("events", body, **once)
    assert other.status_code == 409
    assert b"jane@" not in other.content
    assert alike.post("events", body, **once).content == first.content
    changes = {"HTTP_IDEMPOTENCY_KEY": "another"}
    blind, seeing = only(workspace, "contacts:write"), only(workspace, "contacts:write", "contacts:read")
    assert seeing.post("contacts", {"firstName": "New"}, **changes).status_code == 201
    assert blind.post("contacts", {"firstName": "New"}, **changes).status_code == 409


def test_a_person_is_described_to_who_may_read_contacts(workspace, jane):
    def send(*scopes):
        secret = a_key(workspace, scopes=["events:write", *scopes]).secret
        body = {"type": "seen", "person": {"emails": [{"value": "jane@example.test"}]}}
        path = "/suresend/api/partner/events"
        return Client().post(path, body, content_type="application/json", **bearer(secret)).json()

    whole, blank = send("contacts:read"), send("events:read")
    assert (whole["person"]["id"], whole["person"]["firstName"]) == (str(jane.id), "Jane")
    assert whole["person"].keys() == blank["person"].keys()
    assert {name: value for name, value in blank["person"].items() if value} == {"id": str(jane.id)}


def test_a_segment_s_samples_are_for_who_may_read_contacts(workspace, jane):
    segment = a_segment(workspace, RULE)
    answer = only(workspace, "segments:read").get(f"segments/{segment.id}")
    assert answer.status_code == 200
    assert "sampleContacts" not in answer.json()
    assert (
        "sampleContacts"
        in only(workspace, "segments:read", "contacts:read").get(f"segments/{segment.id}").json()
    )


def test_where_data_leaves_to_is_said_by_who_may_read_it(workspace):
    blind = but(workspace, "contacts:read")
    refused(blind.patch("channels/webhook", {"maxAttempts": 3}), "contacts:read")
    assert blind.patch("channels/email", {"maxAttempts": 3}).status_code == 200


def test_a_form_s_e_mails_are_messages(workspace):
    body = {"name": "News", "fields": [{"name": "mail", "type": "email", "required": True}]}
    unable = but(workspace, "messages:write")
    refused(unable.post("forms", {**body, "doubleOptIn": True}), "messages:write")
    form = unable.post("forms", body)
    assert form.status_code == 201
    refused(unable.patch(f"forms/{form.json()['id']}", {"doubleOptIn": True}), "messages:write")


def test_whatever_the_credential_is_the_same_is_asked(workspace, jane):
    body = {"contactId": str(jane.id), "subject": "x", "body": "x"}
    path = f"/api/workspaces/{workspace.id}/templates/preview"

    def preview(**headers):
        return Client().post(path, body, content_type="application/json", **headers)

    for scopes, status in ((["campaigns:read"], 403), (["campaigns:read", "contacts:read"], 200)):
        created = an_application(workspace, scopes=scopes)
        client = {"client_id": created.application.client_id, "client_secret": created.client_secret}
        token = Client().post("/oauth2/token", {"grant_type": "client_credentials", **client}).json()
        assert preview(**bearer(token["access_token"])).status_code == status
    for role, status in (("viewer", 403), ("editor", 201)):
        membership = MembershipFactory(workspace=workspace, role=role)
        campaign = {**definition(workflow=DOES["contacts:write"]), "name": role}
        answer = Client().post(
            f"/api/workspaces/{workspace.id}/campaigns",
            campaign,
            content_type="application/json",
            **bearer(issue_tokens(membership.user, str(workspace.id)).access),
        )
        assert answer.status_code == status
    assert preview().status_code == 401
