"""A stored condition that cannot be read any more is a reason in an answer: no page, route or command fails by it."""

import json
import re
from io import StringIO
from itertools import count
from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse

from campaigns.journeys import plans
from campaigns.models import Campaign, CampaignVersion, Enrollment
from config.ids import uuid7
from contacts.models import Contact
from events.models import Aggregate, Event
from scoring.models import ScoringRule
from segments.definitions import update_segment
from segments.models import Segment
from tests.admin.test_every_page import url_of
from tests.campaigns.factories import a_campaign, definition, node, on_event, work
from tests.contacts.factories import a_contact
from tests.scale import IS_WHOLE, Samples
from tests.scoring.factories import a_rule
from tests.segments.factories import (
    a_segment,
    attribute,
    build_occupied_lanes,
    did,
    every,
    in_segment,
    tell,
)
from tests.workspaces.factories import a_key, bearer
from workspaces.models import User, Workspace

UNREADABLE = {
    "of a type that is no more": {"type": "horoscope", "sign": "libra"},
    "with an operator that is no more": {
        "type": "attribute",
        "field": "firstName",
        "operator": "sounds_like",
        "value": "x",
    },
    "on a segment that is no more": {"type": "segment", "segmentId": str(uuid7()), "operator": "in"},
    "a group without its list": {"operator": "AND", "conditions": 5},
    "a group of no conditions": {"operator": "AND", "conditions": [{"operator": "NOT", "conditions": [7]}]},
    "an event of nothing": {"type": "event", "eventType": 5, "filters": 7, "timeWindow": [], "operator": {}},
    "a list": [],
    "a text": "libra",
}
_SEGMENT = "UPDATE segments_segment SET {} = %(condition)s WHERE name = %(name)s"
_OF_CAMPAIGN = """
UPDATE campaigns_campaign SET draft = jsonb_set(draft, %(path)s, %(condition)s);
UPDATE campaigns_campaignversion SET definition = jsonb_set(definition, %(path)s, %(condition)s)
"""
PLACES = {
    "segment": (_SEGMENT.format("rule"), {"name": "Base"}),
    "draft": (_SEGMENT.format("draft_rule"), {"name": "Drafted"}),
    "scoring rule": ("UPDATE scoring_scoringrule SET condition = %(condition)s", {}),
    "aggregate": ("UPDATE events_aggregate SET filters = %(condition)s", {}),
    "trigger": (_OF_CAMPAIGN, {"path": "{triggers,0,condition}"}),
    "goal": (_OF_CAMPAIGN, {"path": "{goal,condition}"}),
    "exit": (_OF_CAMPAIGN, {"path": "{exits,0,condition}"}),
    "wait": (_OF_CAMPAIGN, {"path": "{workflow,nodes,0,data,condition}"}),
    "branch": (_OF_CAMPAIGN, {"path": "{workflow,nodes,1,data,branches,0,condition}"}),
}
"""What makes the condition in each place another: a statement and its parameters."""
_VERSIONS = count(1_000)
CONDITIONS = Samples(list(UNREADABLE))
PAGES = [Segment, ScoringRule, Campaign, CampaignVersion, Enrollment, Aggregate]


@pytest.fixture
def world(db):
    """Return rows that have a condition in every place."""
    workspace = Workspace.objects.create(name="Mill")
    jane = a_contact(workspace, "jane@example.test")
    base = a_segment(workspace, every(did("buy")), name="Base")
    above = a_segment(workspace, every(in_segment(base)), name="Above")
    drafted = a_segment(workspace, every(did("buy")), name="Drafted")
    update_segment(workspace.id, drafted, raw=every(did("look")), publish=False)
    build_occupied_lanes(drafted)
    rule = a_rule(workspace, "buy", 7, condition=every(in_segment(base)))
    here = {"field": "metadata.amount", "operator": "gte", "value": 1}
    campaign = a_campaign(
        workspace,
        definition(
            node("wait", "waitForEvent", eventType="paid", condition=here, timeout="2d"),
            node("which", "branch", branches=[{"handle": "a", "condition": in_segment(base)}]),
            edges=[("wait", "which", "event")],
            trigger=on_event("buy", here),
            goal={"eventType": "paid", "condition": here, "within": "7d"},
            exits=[{"condition": attribute("firstName", "eq", "Gone")}],
        ),
        name="Orders",
    )
    tell(workspace, jane, "buy", amount=5)
    work(workspace)
    (run,) = Enrollment.objects.all()
    event = Event.objects.get(name="buy")
    root = Client(raise_request_exception=False)
    root.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return SimpleNamespace(
        workspace=workspace,
        jane=jane,
        base=base,
        above=above,
        drafted=drafted,
        rule=rule,
        campaign=campaign,
        root=root,
        api=Client(raise_request_exception=False, headers=_headers(workspace)),
        ids={
            "workspace_id": workspace.id,
            "contact_id": jane.id,
            "campaign_id": campaign.id,
            "segment_id": base.id,
            "rule_id": rule.id,
            "event_id": event.id,
            "run_id": run.id,
        },
    )


def _headers(workspace):
    return {"Authorization": bearer(a_key(workspace).secret)["HTTP_AUTHORIZATION"]}


def spoil(world, place, condition):
    """Write a condition into a place past all services, as one that was sound when it was stored."""
    statement, parameters = PLACES[place]
    with connection.cursor() as cursor:
        for part in statement.split(";"):
            cursor.execute(part, {**parameters, "condition": json.dumps(condition)})
        assert cursor.rowcount
        # Plans are kept by it.
        cursor.execute("UPDATE events_rulesversion SET version = %s", [next(_VERSIONS)])
    # Versions never change, so every process keeps what it has read; this is one that starts now.
    plans._definitions.clear()
    plans._parse_version.cache_clear()
    world.ids["segment_id"] = (world.drafted if place == "draft" else world.base).id


def routes():
    """Return the native routes about what has conditions, or is decided by them."""

    def walk(found, prefix=""):
        for each in found.url_patterns:
            path = prefix + str(each.pattern)
            yield from [path] if isinstance(each, URLPattern) else walk(each, path)

    return [
        path
        for path in sorted(walk(get_resolver()))
        if path.startswith("api/workspaces/")
        and any(word in path for word in ("segment", "scor", "campaign", "decisions", "trace"))
    ]


def pages(world):
    """Return the pages of rows with conditions, and the staff's pages of what they decide."""
    for model in PAGES:
        yield url_of(model, "changelist")
        for row in model._default_manager.all():
            yield url_of(model, "change", row.pk)
    yield url_of(Segment, "delete", world.base.pk)
    yield url_of(Contact, "change", world.jane.pk)
    for segment in (world.base, world.above, world.drafted):
        yield reverse("admin:segments_segment_explanation", args=[segment.id, world.jane.id])
    for page in ("change_status", "rehearse", "report", "start"):
        yield reverse(f"admin:campaigns_campaign_{page}", args=[world.campaign.id])
    yield reverse("admin:campaigns_campaign_start", args=[world.campaign.id]) + "?trial=1"
    yield reverse("admin:campaigns_trace", args=[world.ids["event_id"]])


def requests(world):
    """Yield what changes or tries out something beside the condition, and then the thing that has it."""
    segment, campaign = f"segments/{world.ids['segment_id']}", f"campaigns/{world.campaign.id}"
    above, rule = f"segments/{world.above.id}", f"scoring-rules/{world.rule.id}"
    on_base, contact = every(in_segment(world.base)), {"contactId": str(world.jane.id)}
    period = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
    yield "post", "segments/preview", {"rules": on_base}
    yield "post", f"{segment}/impact", {}
    yield "post", f"{segment}/impact", {"rules": every(did("buy"))}
    yield "post", f"{above}/impact", {"rules": every(in_segment(world.base), in_segment(world.drafted))}
    yield "post", "scoring-rules/preview", {"name": "P", "eventType": "buy", "delta": 1, "condition": on_base}
    yield "post", f"{campaign}/rehearsals", period
    yield "post", f"{campaign}/execute", contact
    yield "post", f"{campaign}/execute", {**contact, "isTest": True}
    yield "post", f"{campaign}/broadcasts", {"segmentId": str(world.base.id)}
    yield "post", "segments", {"name": "New", "rules": on_base}
    yield "patch", above, {"rules": every(in_segment(world.base), in_segment(world.drafted))}
    for path in (segment, campaign, rule):
        yield "patch", path, {"description": "x"}
    yield "patch", campaign, {"reentry": {"mode": "once"}}
    yield "post", f"{segment}/rebuild", {}
    yield "post", f"{rule}/rescore", {}
    yield "post", f"{segment}/publish", {}
    for verb in ("pause", "resume", "activate", "finish", "activate"):
        yield "post", f"{campaign}/{verb}", {}
    yield "patch", segment, {"rules": every(did("buy"))}
    yield "patch", rule, {"delta": 9}
    yield "delete", f"{segment}/draft", {}
    for path in (segment, above, rule):
        yield "delete", path, {}
    yield "post", f"{campaign}/archive", {}


COMMANDS = [
    "verify_segments",
    "verify_scores",
    "rebuild_segments",
    "rescore_contacts",
    "audit_effects",
    "dump_configuration",
    "plan_configuration",
]


def failures(world, folder):
    """Return what fails: pages, routes, requests, workers and commands."""
    found = []

    def note(name, answer):
        if answer.status_code >= 500:
            found.append(f"{name}: {answer.status_code}")

    for route in routes():
        path = re.sub(r"<str:(\w+)>", lambda name: str(world.ids.get(name[1], uuid7())), f"/{route}")
        note(f"GET {route}", world.api.get(path))
    for page in pages(world):
        note(page, world.root.get(page))
    for command in COMMANDS:
        arguments = [str(folder)] if "configuration" in command else []
        arguments += ["--workspace", str(world.workspace.id)]
        try:
            call_command(command, *arguments, stdout=StringIO(), stderr=StringIO())
        except (CommandError, SystemExit):
            pass
        except Exception as error:
            found.append(f"{command}: {error!r}")
    tell(world.workspace, world.jane, "buy", "paid", "look", amount=3)
    work(world.workspace)
    for method, path, body in requests(world):
        send, url = getattr(world.api, method), f"/api/workspaces/{world.workspace.id}/{path}"
        note(f"{method} {path}", send(url, body, content_type="application/json"))
    tell(world.workspace, world.jane, "buy", "paid", "look", amount=3)
    work(world.workspace)
    return found


@pytest.mark.parametrize("place", PLACES if IS_WHOLE else ["segment", "branch"])
def test_nothing_fails_by_one(world, place, tmp_path, monkeypatch):
    monkeypatch.setattr(admin.site, "get_sidebar_list", lambda request: [])
    found = []
    for name in CONDITIONS:
        before = transaction.savepoint()
        spoil(world, place, UNREADABLE[name])
        found += [f"{name}: {failure}" for failure in failures(world, tmp_path)]
        transaction.savepoint_rollback(before)
    assert found == []
