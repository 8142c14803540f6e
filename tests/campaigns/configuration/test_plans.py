"""A dump applied is the same dump; a plan says what an application does, and one that fails has done nothing."""

from collections import Counter
from datetime import datetime
from itertools import pairwise
from operator import attrgetter
from uuid import UUID

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.configuration.folders import read_folder, write_folder
from campaigns.configuration.kinds import KINDS
from campaigns.configuration.plans import dump_configuration, plan_configuration
from campaigns.configuration.references import in_order
from campaigns.errors import ConfigurationChanged, InvalidConfiguration
from campaigns.journeys.lifecycle import archive_campaign
from campaigns.models import Campaign, Template
from config.db.fields import JSONField
from contacts.profiles.fields import create_field
from events.models import EventDefinition
from scoring.models import ScoringRule
from scoring.rules import save_rule
from segments.definitions import create_segment, update_segment
from segments.models import Segment
from tests.campaigns.configuration.factories import apply, changed, document, documents_of, fill
from tests.campaigns.factories import node, workflow
from tests.campaigns.messages import a_template
from tests.contacts.factories import set_identity_field
from tests.segments.factories import attribute, build_occupied_lanes, did, every, in_segment
from tests.workspaces.factories import UserFactory, WorkspaceFactory
from workspaces.models import AuditEntry, BackfillJob


@pytest.fixture
def filled(workspace):
    fill(workspace)
    return dump_configuration(workspace.id)


def test_a_dump_names_what_objects_refer_to(workspace, filled):
    assert sorted(filled) == [
        "campaigns/draft-to-come.yaml",
        "campaigns/thanks.yaml",
        "channels/email.yaml",
        "channels/telegram.yaml",
        "channels/webhook.yaml",
        "contact-fields/code.yaml",
        "contact-fields/renewson.yaml",
        "event-definitions/purchase.yaml",
        "scoring-rules/purchase.yaml",
        "segments/aces-vips.yaml",
        "segments/buyers.yaml",
        "segments/press.yaml",
        "templates/thanks.yaml",
    ]
    assert "template: Thanks" in filled["campaigns/thanks.yaml"]
    assert filled["campaigns/thanks.yaml"].count("segment: Buyers") == 3
    assert "segment: Buyers" in filled["scoring-rules/purchase.yaml"]
    assert "segment: Buyers" in filled["segments/aces-vips.yaml"]
    assert "body: |\n" in filled["templates/thanks.yaml"]
    assert "SECRET" not in "".join(filled.values())
    assert "Id: " not in "".join(filled.values())


def test_a_dump_applied_to_its_workspace_changes_nothing(workspace, filled):
    assert apply(workspace, filled).changes == []
    assert dump_configuration(workspace.id) == filled


def test_a_dump_applied_to_an_empty_workspace_is_the_same_dump(filled):
    empty = WorkspaceFactory.create()
    plan = apply(empty, filled)
    assert (plan.count("created"), plan.count("changed")) == (10, 1)
    assert dump_configuration(empty.id) == filled
    assert plan_configuration(empty, documents_of(filled)).changes == []


def test_a_plan_says_what_an_application_does_and_does_nothing(workspace, filled):
    documents = changed(filled, "segments/buyers.yaml", description="Who bought")
    del documents["templates"][0]
    documents["segments"] += [document("segments/new.yaml", name="New", rules=attribute("score", "gte", 5))]
    plan = plan_configuration(workspace, documents)
    assert dump_configuration(workspace.id) == filled
    assert [(change.action, change.path) for change in plan.changes] == [
        ("changed", "segments/buyers.yaml"),
        ("created", "segments/new.yaml"),
    ]
    assert "-description: ''\n+description: Who bought\n" in plan.changes[0].difference
    assert [leftover.path for leftover in plan.leftovers] == ["templates/thanks.yaml"]
    assert apply(workspace, documents, expected=plan.fingerprint).fingerprint == plan.fingerprint
    assert plan_configuration(workspace, documents).changes == []


def test_another_spelling_is_no_difference(workspace, filled):
    documents = changed(
        filled,
        "campaigns/draft-to-come.yaml",
        startAt=documents_of(filled)["campaigns"][0].value["startAt"].replace("Z", "+00:00"),
    )
    assert plan_configuration(workspace, documents).changes == []


@pytest.mark.parametrize(
    ("path", "values", "fault"),
    [
        ("campaigns/thanks.yaml", {"goal": {"eventType": "x"}}, "campaigns/thanks.yaml: goal.within: "),
        ("campaigns/thanks.yaml", {"sender": "nobody"}, "campaigns/thanks.yaml: sender: "),
        ("campaigns/thanks.yaml", {"status": "PAUSED"}, "campaigns/thanks.yaml: status: "),
        ("campaigns/thanks.yaml", {"settings": {}}, "campaigns/thanks.yaml: settings: This key is not known"),
        (
            "campaigns/thanks.yaml",
            {"triggers": [{"type": "SEGMENT_ENTER", "segment": "Nobody"}]},
            "campaigns/thanks.yaml: triggers[0].segment: There is no segment called “Nobody”",
        ),
        (
            "campaigns/thanks.yaml",
            {"workflow": workflow(node("a", "send", channel="email", template="Gone"))},
            "campaigns/thanks.yaml: workflow.nodes[0].data.template: There is no template called “Gone”",
        ),
        ("channels/email.yaml", {"timeZone": "Mars"}, "channels/email.yaml: timeZone: "),
        ("channels/email.yaml", {"secret": "x"}, "channels/email.yaml: secret: This key is not known"),
        ("channels/email.yaml", {"channel": "FAX"}, "channels/email.yaml: channel: "),
        (
            "contact-fields/code.yaml",
            {"type": "date"},
            "contact-fields/code.yaml: type: It cannot be changed",
        ),
        ("contact-fields/code.yaml", {"format": {"text": "x"}}, "contact-fields/code.yaml: format: "),
        (
            "event-definitions/purchase.yaml",
            {"properties": [{"name": "a", "type": "money"}]},
            "event-definitions/purchase.yaml: properties[0].type: ",
        ),
        (
            "event-definitions/purchase.yaml",
            {"properties": [{"name": "a", "type": "date", "kind": 1}]},
            "event-definitions/purchase.yaml: properties[0].kind: This key is not known",
        ),
        ("scoring-rules/purchase.yaml", {"delta": "5"}, "scoring-rules/purchase.yaml: delta: "),
        (
            "scoring-rules/purchase.yaml",
            {"condition": {"operator": "AND", "conditions": [{"field": "metadata.a", "operator": "?"}]}},
            "scoring-rules/purchase.yaml: condition.conditions[0].operator: ",
        ),
        ("scoring-rules/purchase.yaml", {"decayDays": 3}, "scoring-rules/purchase.yaml: decayDays: "),
        (
            "segments/buyers.yaml",
            {"rules": every(attribute("score", "gte", 1), attribute("score", "like", 1))},
            "segments/buyers.yaml: rules.conditions[1].operator: ",
        ),
        (
            "segments/buyers.yaml",
            {"evaluation": "STATIC", "rules": None},
            "segments/buyers.yaml: evaluation: ",
        ),
        ("segments/buyers.yaml", {"publish": True}, "segments/buyers.yaml: publish: This key is not known"),
        ("segments/buyers.yaml", {"name": 5}, "segments/buyers.yaml: name: Must be a text"),
        (
            "segments/buyers.yaml",
            {"name": "Press"},
            "segments/press.yaml: name: segments/buyers.yaml has the same",
        ),
        ("templates/thanks.yaml", {"body": "{% if %}"}, "templates/thanks.yaml: body: "),
        (
            "templates/thanks.yaml",
            {"channel": "TELEGRAM"},
            "templates/thanks.yaml: channel: It cannot be changed",
        ),
    ],
    ids=range(23),
)
def test_a_file_that_is_invalid_is_named_with_the_place_and_nothing_is_applied(
    workspace, filled, path, values, fault
):
    documents = changed(filled, path, **values)
    documents["event-definitions"] += [document("event-definitions/new.yaml", name="new")]
    with pytest.raises(InvalidConfiguration) as refused:
        apply(workspace, documents)
    assert fault in str(refused.value)
    assert dump_configuration(workspace.id) == filled
    assert not LogEntry.objects.exists()


def test_a_document_that_lacks_what_it_needs_is_refused(workspace):
    with pytest.raises(InvalidConfiguration) as refused:
        apply(workspace, {"templates": [document("templates/a.yaml", name="A")]})
    assert str(refused.value) == "templates/a.yaml: body: This field is required."


def test_segments_that_build_on_one_another_are_applied_in_their_order(workspace):
    chain = [
        document(f"segments/{name}.yaml", name=name, rules={"type": "segment", "segment": needed})
        for name, needed in (("a", "b"), ("b", "c"), ("c", "d"))
    ]
    last = document("segments/d.yaml", name="d", rules=attribute("score", "gte", 5))
    assert apply(workspace, {"segments": [*chain, last]}).count("created") == 4
    ring = document("segments/d.yaml", name="d", rules={"type": "segment", "segment": "a"})
    with pytest.raises(InvalidConfiguration, match="a → b → c → d → a"):
        apply(workspace, {"segments": [*chain, ring]})


def test_what_builds_on_very_many_others_has_an_order():
    names = [f"s{place:05}" for place in range(5_000)]
    needs = {name: [needed] for name, needed in pairwise(names)}
    assert in_order({**needs, names[-1]: []}) == names[::-1]
    with pytest.raises(ValueError, match="s00000 → s00001 → s00002") as ring:
        in_order({**needs, names[-1]: [names[0]]})
    assert str(ring.value).endswith("s04999 → s00000")


def test_what_the_folder_lacks_is_deleted_only_by_prune_and_only_of_its_kinds(workspace, filled):
    documents = documents_of(filled)
    documents["segments"] = []
    documents["campaigns"] = []
    del documents["templates"]
    plan = plan_configuration(workspace, documents)
    assert plan.changes == []
    # A scoring rule that the folder has builds on a segment.
    with pytest.raises(InvalidConfiguration, match=r"scoring-rules/purchase\.yaml: condition"):
        apply(
            workspace,
            {
                **documents,
                "scoring-rules": changed(filled, "scoring-rules/purchase.yaml", delta=3)["scoring-rules"],
            },
            prune=True,
        )
    del documents["scoring-rules"]
    plan = plan_configuration(workspace, documents, prune=True)
    assert dump_configuration(workspace.id) == filled
    assert apply(workspace, documents, prune=True, expected=plan.fingerprint).fingerprint == plan.fingerprint
    assert {change.path for change in plan.changes} == {
        "campaigns/draft-to-come.yaml",
        "campaigns/thanks.yaml",
        "segments/aces-vips.yaml",
        "segments/press.yaml",
    }
    reasons = {leftover.path: leftover.reason for leftover in plan.leftovers}
    assert reasons["segments/buyers.yaml"] == "This segment is used by: Purchase."
    assert reasons["templates/thanks.yaml"] == ""
    assert Campaign.objects.get(name="Thanks").status == Campaign.Status.ARCHIVED
    assert not Campaign.objects.filter(name="Draft: to come").exists()


def test_a_segment_of_a_campaign_that_stays_is_not_pruned(workspace, filled):
    ScoringRule.objects.all().delete()
    documents = {
        "segments": [
            item
            for item in documents_of(filled)["segments"]
            if "buyers" not in item.path and "aces" not in item.path
        ]
    }
    plan = apply(workspace, documents, prune=True)
    assert [change.path for change in plan.changes] == ["segments/aces-vips.yaml"]
    assert [item.reason for item in plan.leftovers if item.path == "segments/buyers.yaml"] == [
        "This segment is used by: Thanks."
    ]


def test_everything_is_pruned_in_an_order_that_can_be(workspace, filled):
    Campaign.objects.all().update(active_version=None)
    plan = apply(workspace, {kind.folder: [] for kind in KINDS}, prune=True)
    assert plan.count("deleted") == 10
    assert [item.path for item in plan.leftovers] == ["channels/email.yaml"]


def test_an_application_is_refused_where_something_changed_since_the_plan(workspace, filled):
    documents = changed(filled, "segments/buyers.yaml", description="Who bought")
    plan = plan_configuration(workspace, documents)
    Template.objects.update(subject="Good day")
    with pytest.raises(ConfigurationChanged):
        apply(workspace, documents, expected=plan.fingerprint)
    assert Segment.objects.get(name="Buyers").description == ""
    with pytest.raises(ConfigurationChanged):
        apply(workspace, changed(filled, "segments/buyers.yaml", description="!"), expected=plan.fingerprint)


def test_the_audit_log_says_who_applied_what(workspace, filled):
    user = UserFactory.create()
    documents = changed(filled, "segments/buyers.yaml", description="Who bought")
    documents["scoring-rules"] = []
    documents["templates"] += [document("templates/new.yaml", name="New", body="Hi")]
    rule = ScoringRule.objects.get()
    plan = apply(workspace, documents, user=user, prune=True)
    entries = LogEntry.objects.order_by("id")
    assert [(entry.object_repr, entry.action_flag, entry.user_id) for entry in entries] == [
        ("New", ADDITION, user.pk),
        ("Buyers", CHANGE, user.pk),
        ("Purchase", DELETION, user.pk),
    ]
    assert entries[2].object_id == str(rule.id)
    assert {entry.get_change_message() for entry in entries} == {
        f"Configuration applied from here, plan {plan.fingerprint}"
    }
    assert AuditEntry.objects.filter(workspace=workspace).count() == 3


def test_a_campaign_gets_a_new_version_only_with_its_status_and_another_definition(workspace, filled):
    campaign = Campaign.objects.get(name="Thanks")
    user = UserFactory.create()
    apply(workspace, changed(filled, "campaigns/thanks.yaml", description="of buyers"))
    assert campaign.versions.count() == 1
    draft = changed(filled, "campaigns/thanks.yaml", description="of buyers", reentry={"mode": "once"})
    place = next(i for i, item in enumerate(draft["campaigns"]) if item.path == "campaigns/thanks.yaml")
    active = draft["campaigns"][place]
    waiting = {key: value for key, value in active.value.items() if key != "status"}
    draft["campaigns"][place] = document("campaigns/thanks.yaml", **waiting)
    apply(workspace, draft)
    assert campaign.versions.count() == 1
    assert "status" not in dump_configuration(workspace.id)["campaigns/thanks.yaml"]
    assert plan_configuration(workspace, draft).changes == []
    draft["campaigns"][place] = active
    plan = apply(workspace, draft, user=user)
    assert "+status: ACTIVE" in plan.changes[0].difference
    campaign.refresh_from_db()
    assert (campaign.versions.count(), campaign.active_version.number) == (2, 2)
    assert campaign.active_version.actor == str(user)


def test_a_file_without_status_stops_nothing(workspace, filled):
    documents = documents_of(filled)
    documents["campaigns"] = [
        document(item.path, **{key: value for key, value in item.value.items() if key != "status"})
        for item in documents["campaigns"]
    ]
    plan = apply(workspace, documents)
    assert Campaign.objects.get(name="Thanks").status == Campaign.Status.ACTIVE
    assert plan.changes == []


def test_a_draft_that_waits_for_somebody_is_left_alone(workspace, filled):
    buyers = Segment.objects.get(name="Buyers")
    build_occupied_lanes(buyers)
    update_segment(workspace.id, buyers, raw=attribute("score", "gte", 1), publish=False)
    assert dump_configuration(workspace.id) == filled
    apply(workspace, changed(filled, "segments/buyers.yaml", description="Who bought"))
    buyers.refresh_from_db()
    assert (buyers.has_draft, buyers.description) == (True, "Who bought")


def test_what_has_passed_can_be_applied_elsewhere_as_a_draft(workspace):
    past = "2020-01-01T00:00:00.000Z"
    segments = {"segments": [document("segments/a.yaml", name="A", rules=attribute("score", "gte", 5))]}
    value = {
        "name": "News",
        "type": "BROADCAST",
        "startAt": past,
        "triggers": [{"type": "SCHEDULE", "segment": "A", "at": past}],
        "workflow": workflow(node("end", "exit")),
    }
    apply(workspace, {**segments, "campaigns": [document("campaigns/news.yaml", **value)]})
    assert Campaign.objects.get().status == Campaign.Status.DRAFT
    with pytest.raises(InvalidConfiguration, match=r"campaigns/news.yaml: triggers\[0\].at"):
        apply(workspace, {"campaigns": [document("campaigns/news.yaml", **value, status="active")]})


def test_odd_names_go_through_a_folder_to_another_workspace(workspace, tmp_path):
    names = [
        "a/b",
        "a b",
        "A B",
        "../x",
        "..",
        "客户",
        "con",
        "x" * 255,
        "true",
        "1",
        "null",
        "a: b",
        "a\nb",
        "é\U0001f600",
    ]
    for name in names:
        a_template(workspace, name=name)
        create_segment(workspace.id, name=name, raw=attribute("firstName", "eq", name))
        save_rule(
            ScoringRule(workspace=workspace),
            name=name,
            event_name="go",
            points=1,
            condition=in_segment(Segment.objects.get(name=name)),
        )
    files = dump_configuration(workspace.id)
    write_folder(tmp_path, files, {})
    documents = read_folder(tmp_path, [kind.folder for kind in KINDS])
    empty = WorkspaceFactory.create()
    assert apply(empty, documents).count("created") == 3 * len(names)
    assert dump_configuration(empty.id) == files
    write_folder(tmp_path / "again", dump_configuration(empty.id), {})
    for path in files:
        assert (tmp_path / "again" / path).read_bytes() == (tmp_path / path).read_bytes()


def test_the_field_that_names_contacts_is_not_pruned(workspace):
    create_field(workspace.id, "number", "integer")
    create_field(workspace.id, "other", "integer")
    set_identity_field(workspace, "number")
    plan = apply(workspace, {"contact-fields": []}, prune=True)
    assert [change.name for change in plan.changes] == ["other"]
    assert [(item.name, bool(item.reason)) for item in plan.leftovers] == [("number", True)]


def test_nothing_of_another_workspace_is_read_or_changed(workspace, filled):
    other = WorkspaceFactory.create()
    create_segment(other.id, name="Theirs", raw=attribute("score", "gte", 1))
    theirs = dump_configuration(other.id)
    assert dump_configuration(workspace.id) == filled
    rules = {"type": "segment", "segment": "Theirs"}
    with pytest.raises(InvalidConfiguration, match="There is no segment called “Theirs”"):
        apply(workspace, changed(filled, "segments/buyers.yaml", rules=rules))
    rules = {"type": "segment", "segmentId": str(Segment.objects.get(name="Theirs").id)}
    with pytest.raises(InvalidConfiguration, match=r"rules\.segmentId: There is no such segment"):
        apply(workspace, changed(filled, "segments/buyers.yaml", rules=rules))
    apply(workspace, {kind.folder: [] for kind in KINDS}, prune=True)
    assert dump_configuration(other.id) == theirs


def test_two_of_one_name_cannot_be_told_apart(workspace):
    for _ in range(2):
        save_rule(ScoringRule(workspace=workspace), name="Same", event_name="go", points=1)
    with pytest.raises(InvalidConfiguration, match="scoring-rules: Two are called “Same”"):
        dump_configuration(workspace.id)


def test_a_name_that_was_merely_seen_is_not_dumped_and_becomes_declared(workspace):
    EventDefinition.objects.create(workspace=workspace, name="seen", is_declared=False)
    assert not [path for path in dump_configuration(workspace.id) if path.startswith("event-definitions")]
    apply(workspace, {"event-definitions": [document("event-definitions/seen.yaml", name="seen")]})
    assert EventDefinition.objects.get().is_declared


def test_a_plan_begins_no_work(workspace, filled, django_capture_on_commit_callbacks):
    documents = changed(filled, "segments/buyers.yaml", rules=attribute("score", "gte", 5))
    with django_capture_on_commit_callbacks() as planned:
        plan_configuration(workspace, documents)
    with django_capture_on_commit_callbacks() as applied:
        apply(workspace, documents)
    assert (planned, bool(applied)) == ([], True)


def test_a_name_with_spaces_around_it_is_kept_where_it_is_and_refused_where_it_is_new(workspace):
    EventDefinition.objects.create(workspace=workspace, name=" odd ")
    files = dump_configuration(workspace.id)
    assert apply(workspace, files).changes == []
    with pytest.raises(InvalidConfiguration, match=r"odd\.yaml: name: It begins or ends with a space"):
        apply(WorkspaceFactory.create(), files)


OF_EVERY_KIND = [
    pytest.param(
        "event-definitions",
        {"properties": [{"name": "amount", "type": "number"}, {"name": "currency", "type": "string"}]},
        {"description": "Other"},
        id="event definitions",
    ),
    pytest.param("contact-fields", {"type": "text"}, {"format": {"text": "email"}}, id="contact fields"),
    pytest.param(
        "templates",
        {"channel": "EMAIL", "subject": "Hi", "body": "Hi"},
        {"subject": "Other"},
        id="templates",
    ),
    pytest.param(
        "segments",
        {"rules": every(did("purchase"), {"type": "segment", "segment": "Base"})},
        {"rules": every(did("signup"), {"type": "segment", "segment": "Base"})},
        id="segments",
    ),
    pytest.param(
        "scoring-rules",
        {
            "eventType": "purchase",
            "delta": 1,
            "condition": every(did("purchase"), {"type": "segment", "segment": "Base"}),
        },
        {"delta": 2, "decayPoints": 1, "decayDays": 7},
        id="scoring rules",
    ),
    pytest.param(
        "campaigns",
        {
            "type": "AUTOMATED",
            "status": "active",
            "triggers": [{"type": "SEGMENT_ENTER", "segment": "Base"}],
            "workflow": workflow(node("hi", "send", channel="email", template="Base")),
        },
        {"triggers": [{"type": "DATE", "field": "attributes.due", "repeats": "never"}]},
        id="campaigns",
    ),
]


@pytest.mark.parametrize(("folder", "values", "others"), OF_EVERY_KIND)
def test_an_object_more_costs_next_to_no_statements(workspace, folder, values, others):
    """Twice as many objects: a few statements more at most, as each has room for so many rows."""
    create_segment(workspace.id, name="Base", raw=did("purchase"))
    a_template(workspace, name="Base")

    def documents(count, **more):
        return {
            folder: [
                document(f"{folder}/{count}-{n}.yaml", name=f"{count} {n}", **values | more)
                for n in range(count)
            ]
        }

    def cost(action, wanted):
        with CaptureQueriesContext(connection) as queries:
            plan = apply(workspace, wanted)
        expected = len(wanted[folder]) if action else 0
        assert (plan.count(action), len(plan.changes)) == (expected, expected)
        return len(queries)

    costs = {
        count: [
            cost("created", documents(count)),
            cost("changed", documents(count, **others)),
            cost("", documents(count, **others)),
        ]
        for count in (20, 40)
    }
    more = [many - few for few, many in zip(costs[20], costs[40], strict=True)]
    # The jobs of builds, re-scores and dates: sixteen rows each.
    assert all(grown <= 4 for grown in more[:2]), costs
    assert more[2] == 0


@pytest.mark.parametrize(("folder", "values", "others"), OF_EVERY_KIND)
def test_what_is_written_together_is_as_if_written_one_by_one(workspace, folder, values, others):
    def filled_one():
        one = WorkspaceFactory.create()
        create_segment(one.id, name="Base", raw=did("purchase"))
        a_template(one, name="Base")
        return one

    files = [document(f"{folder}/{n}.yaml", name=f"A {n}", **values) for n in range(3)]
    later_files = [document(f"{folder}/{n}.yaml", name=f"A {n}", **values | others) for n in range(3)]
    together, apart = filled_one(), filled_one()
    apply(together, {folder: files})
    apply(together, {folder: later_files})
    for file, other in zip(files, later_files, strict=True):
        apply(apart, {folder: [file]})
        apply(apart, {folder: [other]})
    assert dump_configuration(together.id) == dump_configuration(apart.id)
    kind = next(kind for kind in KINDS if kind.folder == folder)
    assert _facts(kind.rows(together.id)) == _facts(kind.rows(apart.id))
    assert _jobs(together) == _jobs(apart)


def _facts(rows):
    """Return what rows have besides moments and ids, where nothing is null in JSON and not in SQL."""
    return [
        {
            field.attname: value
            for field in row._meta.concrete_fields
            if not isinstance(value := getattr(row, field.attname), datetime | UUID)
        }
        | {
            field.attname: type(row).objects.filter(id=row.id, **{f"{field.attname}__isnull": True}).exists()
            for field in row._meta.concrete_fields
            if isinstance(field, JSONField)
        }
        for row in sorted(rows, key=attrgetter("name"))
    ]


def _jobs(workspace):
    return Counter(BackfillJob.objects.in_workspace(workspace.id).values_list("kind", "part", "finished_at"))


def test_of_many_the_file_whose_name_an_archived_campaign_has_is_named(workspace, filled):
    archive_campaign(workspace.id, Campaign.objects.get(name="Thanks"))
    value = {"type": "AUTOMATED", "triggers": [], "workflow": workflow()}
    files = [
        document(f"campaigns/{n}.yaml", name=name, **value) for n, name in enumerate(["A", "Thanks", "Z"])
    ]
    with pytest.raises(InvalidConfiguration) as refused:
        apply(workspace, {"campaigns": files})
    assert str(refused.value) == "campaigns/1.yaml: A campaign with this name already exists."


def test_a_ring_by_way_of_segments_that_have_no_file_is_refused(workspace):
    """Each of two changes is sound beside the old rule of the other."""
    plain = attribute("score", "gte", 5)
    a, c = (create_segment(workspace.id, name=name, raw=plain) for name in "AC")
    u = create_segment(workspace.id, name="U", raw=in_segment(c))
    create_segment(workspace.id, name="V", raw=in_segment(a))
    files = [
        document("segments/a.yaml", name="A", rules={"type": "segment", "segment": "U"}),
        document("segments/c.yaml", name="C", rules={"type": "segment", "segment": "V"}),
    ]
    for chosen in files:
        plan_configuration(workspace, {"segments": [chosen]})
    with pytest.raises(InvalidConfiguration, match="would build on itself: C → V → A → U → C"):
        apply(workspace, {"segments": files})
    assert u.rule is None


def test_a_field_that_is_declared_twice_is_named(workspace):
    """Where names differ by their spelling only."""
    files = [
        document(f"contact-fields/{n}.yaml", name=name, type="text")
        for n, name in enumerate(["e\u0301", "\u00e9"])
    ]
    with pytest.raises(InvalidConfiguration, match=r"contact-fields/1\.yaml"):
        apply(workspace, {"contact-fields": files})
