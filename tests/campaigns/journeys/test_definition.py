"""A definition is read, or refused with the path of what is wrong with it."""

import pytest

from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition.parser import parse_definition
from config import ids
from tests.campaigns.factories import definition, marks, node, workflow

ID = str(ids.uuid7())


def changed(path, value):
    """Return a sound definition with one value changed."""
    raw = definition(
        node("which", "branch", branches=[{"handle": "a", "condition": {"type": "tag", "value": "vip"}}]),
        node("wait", "waitForEvent", eventType="paid", timeout="2d"),
        node("ab", "split", arms=[{"handle": "a", "weight": 60}, {"handle": "b", "weight": 40}]),
        marks("end"),
        edges=[("which", "wait", "a"), ("wait", "ab", "timeout"), ("ab", "end", "a")],
        goal={"eventType": "buy", "within": "7d"},
        exits=[{"eventType": "stop"}],
    )
    place = raw
    *way, last = path
    for key in way:
        place = place[key]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return raw


def edge(source, target, handle=""):
    return {"source": source, "target": target, "sourceHandle": handle}


NODES, EDGES = ("workflow", "nodes"), ("workflow", "edges")


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("triggers",), [], "triggers"),
        (("triggers", 0), {"type": "WHIM"}, "triggers[0].type"),
        (("triggers", 0), {"type": "EVENT"}, "triggers[0].eventType"),
        (("triggers", 0, "typo"), 1, "triggers[0].typo"),
        (
            ("triggers", 0, "condition"),
            {"field": "properties.a", "operator": "like", "value": 1},
            "triggers[0].condition.operator",
        ),
        (("triggers", 0), {"type": "SEGMENT_ENTER", "segmentId": "x"}, "triggers[0].segmentId"),
        (("triggers", 0), {"type": "DATE", "field": "birthday"}, "triggers[0].field"),
        (("triggers", 0), {"type": "DATE", "field": "attributes.b", "at": "25:00"}, "triggers[0].at"),
        (("triggers", 0), {"type": "DATE", "field": "attributes.b", "offset": "soon"}, "triggers[0].offset"),
        (("triggers", 0), {"type": "SCHEDULE", "segmentId": ID, "at": "+3d"}, "triggers[0].at"),
        (("triggers", 0), {"type": "ATTRIBUTE_CHANGED", "field": "score"}, "triggers[0].field"),
        (("reentry",), {"mode": "sometimes"}, "reentry.mode"),
        (("reentry",), {"mode": "interval", "days": 0}, "reentry.days"),
        (("reentry",), {"mode": "once", "days": 1}, "reentry.days"),
        (("reentry",), {"mode": "key"}, "reentry.property"),
        (("goal", "within"), "-7d", "goal.within"),
        (("goal", "within"), KeyError, "goal.within"),
        (("exits", 0), {}, "exits[0].condition"),
        (("includesHistory",), 1, "includesHistory"),
        (("extra",), 1, "extra"),
        (("workflow",), KeyError, "workflow"),
        ((*NODES, 0, "id"), "a:b", "workflow.nodes[0].id"),
        ((*NODES, 1, "id"), "which", "workflow.nodes[1].id"),
        ((*NODES, 0, "type"), "magic", "workflow.nodes[0].type"),
        ((*NODES, 0, "data", "branches", 0, "handle"), "else", "workflow.nodes[0].data.branches[0].handle"),
        (
            (*NODES, 0, "data", "branches", 0, "condition"),
            {"type": "tag"},
            "workflow.nodes[0].data.branches[0].condition.value",
        ),
        ((*NODES, 1, "data", "timeout"), KeyError, "workflow.nodes[1].data.timeout"),
        ((*NODES, 1, "data", "match"), {}, "workflow.nodes[1].data.match.property"),
        ((*NODES, 2, "data", "arms", 1, "weight"), 50, "workflow.nodes[2].data.arms"),
        ((*NODES, 2, "data", "arms", 1, "weight"), True, "workflow.nodes[2].data.arms[1].weight"),
        ((*NODES, 2, "data", "arms", 1, "handle"), "a", "workflow.nodes[2].data.arms[1].handle"),
        ((*NODES, 3, "data", "eventType"), "segment.entered", "workflow.nodes[3].data.eventType"),
        ((*NODES, 3), node("end", "wait"), "workflow.nodes[3].data"),
        ((*NODES, 3), node("end", "wait", duration="2d", timeOfDay="09:00"), "workflow.nodes[3].data"),
        ((*NODES, 3), node("end", "send", templateId="x"), "workflow.nodes[3].data.templateId"),
        ((*NODES, 3), node("end", "webhook", url="file:///etc"), "workflow.nodes[3].data.url"),
        ((*NODES, 3), node("end", "tag"), "workflow.nodes[3].data"),
        ((*NODES, 3), node("end", "update", attributes={}), "workflow.nodes[3].data.attributes"),
        ((*NODES, 3), node("end", "update", attributes={"a": "\x00"}), "workflow.nodes[3].data.attributes.a"),
        ((*NODES, 3), node("end", "webhook", url="http://[::1"), "workflow.nodes[3].data.url"),
        ((*NODES, 3), node("end", "webhook", url="https:// a"), "workflow.nodes[3].data.url"),
        ((*NODES, 3), node("end", "webhook", url="https://"), "workflow.nodes[3].data.url"),
        ((*NODES, 3), node("end", "webhook", url="https://a.test\n/"), "workflow.nodes[3].data.url"),
        ((*NODES, 3), node("end", "webhook", url="https://a.test:0/"), "workflow.nodes[3].data.url"),
        ((*NODES, 3), node("end", "webhook", url="https://a.test/{{ contact.id }}?b={{ event.type }}"), None),
        (
            (*NODES, 3),
            node("end", "webhook", url="https://a.test", method="GET"),
            "workflow.nodes[3].data.method",
        ),
        (
            (*NODES, 3),
            node("end", "webhook", url="https://a.test", method=[]),
            "workflow.nodes[3].data.method",
        ),
        (
            (*NODES, 3),
            node("end", "webhook", url="https://a.test", headers={"Host": "b.test"}),
            "workflow.nodes[3].data.headers.Host",
        ),
        (
            (*NODES, 3),
            node("end", "webhook", url="https://a.test", headers={"X-A": "b\r\nX-B: c"}),
            "workflow.nodes[3].data.headers.X-A",
        ),
        (
            (*NODES, 3),
            node("end", "webhook", url="https://a.test", headers={"X A": "b"}),
            "workflow.nodes[3].data.headers.X A",
        ),
        ((*NODES, 3), node("end", "update", attributes={" ": 1}), "workflow.nodes[3].data.attributes"),
        ((*NODES, 3), node("end", "update", attributes={"a" * 256: 1}), "workflow.nodes[3].data.attributes"),
        ((*NODES, 3), node("end", "exit", reason="a" * 41), "workflow.nodes[3].data.reason"),
        *(
            ((*NODES, 3), node("end", "wait", timeOfDay=text), "workflow.nodes[3].data.timeOfDay")
            for text in ("24:00", "9:00", "T0900", "09+02", "０９:00")
        ),
        *(
            ((*NODES, 3), node("end", "wait", duration=text), "workflow.nodes[3].data.duration")
            for text in ("0d", "-1d", "36500d", "100y", "1.5d", " 1d", 1, True, [], {})
        ),
        (("reentry",), {"mode": []}, "reentry.mode"),
        (("reentry",), {"mode": {}}, "reentry.mode"),
        (("reentry",), {"mode": "interval", "days": "7"}, "reentry.days"),
        (("reentry",), {"mode": "key", "property": "a" * 256}, "reentry.property"),
        ((*NODES, 2, "data", "arms", 1, "weight"), "40", "workflow.nodes[2].data.arms[1].weight"),
        ((*NODES, 2, "data", "arms", 1, "weight"), float("nan"), "workflow.nodes[2].data.arms[1].weight"),
        ((*NODES, 2, "data", "arms", 1, "weight"), 10, None),
        ((*EDGES, 0, "source"), [], "workflow.edges[0].source"),
        ((*EDGES, 0, "target"), {}, "workflow.edges[0].target"),
        ((*EDGES, 0, "sourceHandle"), ["a"], "workflow.edges[0].sourceHandle"),
        ((*EDGES, 0, "sourceHandle"), {"a": 1}, "workflow.edges[0].sourceHandle"),
        ((*EDGES, 0, "target"), "nowhere", "workflow.edges[0].target"),
        ((*EDGES, 0, "sourceHandle"), "b", "workflow.edges[0].sourceHandle"),
        ((*EDGES, 1), edge("which", "ab", "a"), "workflow.edges[1]"),
        ((*EDGES, 1), edge("which", "ab", "else"), None),
        ((*EDGES, 2, "target"), "which", "workflow.edges"),
        ((*EDGES, 2), edge("ab", "ab", "a"), "workflow.edges"),
        (EDGES, [edge("which", "wait", "a")], "workflow.nodes"),
    ],
)
def test_a_fault_is_told_by_its_path(path, value, fault):
    raw = changed(path, value)
    if fault is None:
        assert parse_definition(raw)
        return
    with pytest.raises(InvalidDefinition) as refusal:
        parse_definition(raw)
    assert refusal.value.path == fault


@pytest.mark.parametrize("raw", [{}, {"triggers": []}, {"workflow": {"nodes": [], "edges": []}}])
def test_of_a_draft_something_may_be_missing(raw):
    assert parse_definition(raw, require_complete=False).start is None
    with pytest.raises(InvalidDefinition):
        parse_definition(raw)


def test_a_long_chain_is_read_fast_and_a_circle_in_it_is_found():
    nodes = [marks(f"n{number}") for number in range(200)]
    raw = definition(*nodes)
    assert parse_definition(raw).start == "n0"
    raw["workflow"]["edges"][-1]["target"] = "n100"
    with pytest.raises(InvalidDefinition, match="circle: n100 → "):
        parse_definition(raw)


def test_many_ways_that_meet_are_no_circle():
    """Each of forty branches doubles the number of ways."""
    steps = []
    edges = []
    for number in range(40):
        branches = [{"handle": "a", "condition": {"type": "tag", "value": "vip"}}]
        steps.append(node(f"b{number}", "branch", branches=branches))
        if number:
            edges += [(f"b{number - 1}", f"b{number}", "a"), (f"b{number - 1}", f"b{number}", "else")]
    raw = {**definition(), "workflow": workflow(*steps, edges=edges)}
    assert parse_definition(raw).start == "b0"


def test_a_start_says_where_enrollments_begin():
    raw = definition(node("start", "trigger"), marks(), edges=[("start", "mark")])
    assert parse_definition(raw).start == "start"
    raw["workflow"]["nodes"].append(node("other", "trigger"))
    with pytest.raises(InvalidDefinition) as refusal:
        parse_definition(raw)
    assert refusal.value.path == "workflow.nodes"
