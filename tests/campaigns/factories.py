"""Campaigns that serve, with the least data, and workers that take their enrollments on."""

import itertools
from typing import Any

from campaigns.journeys.date_triggers import DATES
from campaigns.journeys.lifecycle import activate_campaign, create_campaign
from campaigns.journeys.processor import process_due_enrollments
from campaigns.models import Campaign, Decision, Enrollment, Message
from config import ids
from contacts.models import Contact
from events.processing.passes import apply_effects
from tests.campaigns.messages import a_template
from workspaces.models import BackfillJob, Workspace


def on_event(name: str, condition: Any = None) -> dict[str, Any]:
    """Return the trigger by an event."""
    return {"type": "EVENT", "eventType": name, **({"condition": condition} if condition else {})}


def node(id_: str, type_: str, **data: Any) -> dict[str, Any]:
    """Return a node."""
    return {"id": id_, "type": type_, "data": data}


def workflow(*nodes: dict[str, Any], edges: Any = None) -> dict[str, Any]:
    """Return a graph: a chain of the nodes, unless edges (source, target, handle) are given."""
    if edges is None:
        ids_ = [node["id"] for node in nodes]
        edges = list(itertools.pairwise(ids_))
    return {
        "nodes": list(nodes),
        "edges": [dict(zip(("source", "target", "sourceHandle"), edge, strict=False)) for edge in edges],
    }


def marks(id_: str = "mark") -> dict[str, Any]:
    """Return a node that leaves a mark in the stream: an event called as it is."""
    return node(id_, "record", eventType=id_)


def definition(*nodes: dict[str, Any], edges: Any = None, trigger: Any = None, **more: Any) -> dict[str, Any]:
    """Return a definition, started by `go`, once for each such event, unless it says otherwise."""
    return {
        "triggers": [trigger or on_event("go")],
        "reentry": {"mode": "every"},
        "workflow": workflow(*(nodes or (marks(),)), edges=edges),
        **more,
    }


def a_campaign(workspace: Workspace, raw: dict[str, Any] | None = None, **values: Any) -> Campaign:
    """Return a campaign that is active."""
    name = values.pop("name", f"Campaign {ids.uuid7()}")
    campaign = create_campaign(workspace.id, name=name, definition=raw or definition(), **values)
    return activate_campaign(workspace.id, campaign)


def sends(workspace: Workspace, id_: str = "send", body: str = "<p>Hello") -> dict[str, Any]:
    """Return a node that sends an e-mail of a template of its own."""
    template = a_template(workspace, body)
    return node(id_, "send", channel="email", templateId=str(template.id), transactional=True)


def work(workspace: Workspace) -> None:
    """Do what the workers would: effects, then due enrollments, until nothing follows any more."""
    while (
        apply_effects(workspace.id) == "done"
        or process_due_enrollments(workspace.id, at_most_seconds=60) == "done"
    ):
        pass


def schedule_dates() -> None:
    """Schedule the timers of newly active date triggers, as the workers would."""
    for job in BackfillJob.objects.filter(kind=DATES.path, finished_at=None):
        DATES.run(job)


def enrollments_of(campaign: Campaign, contact: Contact | None = None) -> list[Enrollment]:
    """Return the enrollments of a campaign, the oldest first."""
    enrollments = Enrollment.objects.filter(workspace_id=campaign.workspace_id, campaign=campaign)
    return list(
        (enrollments.filter(contact=contact) if contact else enrollments).order_by("started_at", "id")
    )


def ends(campaign: Campaign) -> list[tuple[str, str]]:
    """Return how the enrollments of a campaign stand: status and reason, the oldest first."""
    return [(enrollment.status, enrollment.end_reason) for enrollment in enrollments_of(campaign)]


def decided(campaign: Campaign, *kinds: str) -> list[tuple[str, str]]:
    """Return what was decided in a campaign, in order: kind and reason."""
    of_workspace = Decision.objects.in_workspace(campaign.workspace_id)
    decisions = of_workspace.about(campaign.workspace_id, campaign.id)
    found = decisions.filter(kind__in=kinds) if kinds else decisions
    return list(found.order_by("decided_at", "id").values_list("kind", "reason"))


def admissions(campaign: Campaign) -> list[tuple[str, str]]:
    """Return who was let in and who was not, and why, in any order."""
    return sorted(decided(campaign, "entered", "not_entered"))


def messages_of(campaign: Campaign) -> list[Message]:
    """Return the messages of a campaign, the oldest first."""
    return list(Message.objects.filter(workspace_id=campaign.workspace_id, campaign=campaign).order_by("id"))
