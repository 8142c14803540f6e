"""Create, edit, activate, pause, finish, archive and execute campaigns.

Every change locks the workspace's rules, so no event is missed between two versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from campaigns.errors import (
    CampaignExists,
    CampaignNotFound,
    InvalidCampaign,
    InvalidDefinition,
    WrongStatus,
)
from campaigns.journeys.broadcasts import is_past, schedule_broadcast
from campaigns.journeys.correlation import correlation_value_at
from campaigns.journeys.date_triggers import cancel_date_timers, start_date_backfill
from campaigns.journeys.definition.parser import Definition, parse_definition
from campaigns.journeys.definition.triggers import ScheduleTrigger, Trigger
from campaigns.journeys.definition_checks import check_definition
from campaigns.journeys.enrollment import Candidate, EnrollmentResult, enroll
from campaigns.journeys.goals_and_exits import end_enrollments
from campaigns.journeys.plans import ActiveCampaign, to_active_campaign
from campaigns.messaging.senders import SENDERS, sender_error
from campaigns.models import Broadcast, Campaign, CampaignVersion, Enrollment
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.wake_ups import campaign_wake_ups, enrollment_wake_ups
from config import clock, ids
from contacts.identity.lookup import find
from contacts.models import Contact
from events.models import Event
from events.processing.passes import bump_rules_version, lock_rules
from segments.membership_conditions import known_segments

EDITABLE: Final = ("name", "description", "type", "starts_at", "ends_at", "priority", *SENDERS)
_ARCHIVE_BATCH_SIZE: Final = 5_000
_IN_PAST: Final = "It lies in the past."


def get_campaign(workspace_id: UUID, campaign_id: UUID) -> Campaign:
    """Return a campaign. Raises CampaignNotFound."""
    campaign = Campaign.objects.in_workspace(workspace_id).filter(id=campaign_id).first()
    if campaign is None:
        raise CampaignNotFound
    return campaign


@transaction.atomic
def create_campaign(
    workspace_id: UUID,
    *,
    name: str,
    definition: Mapping[str, Any] | None = None,
    allow_past: bool = False,
    **values: Any,
) -> Campaign:
    """Create a draft. `values`: fields of EDITABLE; `allow_past`: it may say starts that have passed.

    Raises CampaignExists, InvalidCampaign, InvalidDefinition.
    """
    campaign = Campaign(workspace_id=workspace_id)
    definition = definition if definition is not None else {}
    _assign(campaign, {"name": name, **values}, definition, allow_past=allow_past)
    return _save(campaign)


@transaction.atomic
def update_campaign(
    workspace_id: UUID,
    campaign: Campaign,
    *,
    definition: Mapping[str, Any] | None = None,
    allow_past: bool = False,
    **values: Any,
) -> Campaign:
    """Update a campaign; the definition only as a draft, until the next activation. `allow_past`: as for a new one.

    Raises CampaignNotFound, CampaignExists, InvalidCampaign, InvalidDefinition, WrongStatus.
    """
    locked = _lock_campaign(workspace_id, campaign)
    if locked.status == Campaign.Status.ARCHIVED:
        raise WrongStatus(locked.status, "it can be changed no more")
    _assign(locked, values, definition, allow_past=allow_past)
    return _save(locked)


@transaction.atomic
def activate_campaign(workspace_id: UUID, campaign: Campaign, *, actor: str = "") -> Campaign:
    """Make the draft the active version. Open enrollments keep the version that they started on.

    `actor`: recorded with the version. Raises CampaignNotFound, InvalidDefinition, WrongStatus.
    """
    locked = _lock_campaign(workspace_id, campaign)
    if locked.status == Campaign.Status.ARCHIVED:
        raise WrongStatus(locked.status, "it can be started no more")
    definition = check_definition(workspace_id, locked.draft)
    now = clock.now()
    if locked.active_version is None or not _is_same(locked.active_version.definition, locked.draft):
        _activate_version(locked, definition, now, actor)
    elif locked.status == Campaign.Status.COMPLETED:
        # Its timers were not maintained meanwhile.
        start_date_backfill(locked, locked.active_version)
    _unpark(locked)
    locked.status = Campaign.Status.ACTIVE
    locked.activated_at = locked.activated_at or now
    _save(locked)
    enrollment_wake_ups.wake(workspace_id)
    campaign_wake_ups.wake(workspace_id)
    return locked


@transaction.atomic
def pause_campaign(workspace_id: UUID, campaign: Campaign) -> Campaign:
    """Stop new enrollments and hold open ones where they are. Raises CampaignNotFound, WrongStatus."""
    return _change_status(
        workspace_id, campaign, Campaign.Status.PAUSED, (Campaign.Status.ACTIVE,), "it is not active"
    )


@transaction.atomic
def resume_campaign(workspace_id: UUID, campaign: Campaign) -> Campaign:
    """Resume a paused campaign and its overdue enrollments. Raises CampaignNotFound, WrongStatus."""
    locked = _change_status(
        workspace_id, campaign, Campaign.Status.ACTIVE, (Campaign.Status.PAUSED,), "it is not paused"
    )
    enrollment_wake_ups.wake(workspace_id)
    campaign_wake_ups.wake(workspace_id)
    return locked


@transaction.atomic
def finish_campaign(workspace_id: UUID, campaign: Campaign) -> Campaign:
    """Stop new enrollments; open ones run to their end. Raises CampaignNotFound, WrongStatus."""
    started = (Campaign.Status.ACTIVE, Campaign.Status.PAUSED)
    return _change_status(
        workspace_id, campaign, Campaign.Status.COMPLETED, started, "it has not been started"
    )


@transaction.atomic
def archive_campaign(workspace_id: UUID, campaign: Campaign) -> Campaign:
    """Archive a campaign for good: open enrollments and broadcasts end. Raises CampaignNotFound."""
    locked = _lock_campaign(workspace_id, campaign)
    locked.status = Campaign.Status.ARCHIVED
    if locked.active_version is not None:
        cancel_date_timers(workspace_id, locked, locked.active_version)
    Broadcast.objects.in_workspace(workspace_id).filter(campaign=locked, finished_at=None).update(
        finished_at=clock.now()
    )
    open_enrollments = Enrollment.objects.in_workspace(workspace_id).open().filter(campaign=locked)
    while enrollment_ids := list(open_enrollments.values_list("id", flat=True)[:_ARCHIVE_BATCH_SIZE]):
        end_enrollments(
            workspace_id,
            dict.fromkeys(enrollment_ids),
            status=Enrollment.Status.EXITED,
            reason=Reason.ARCHIVED,
            now=clock.now(),
        )
    return _save(locked)


@transaction.atomic
def delete_campaign(workspace_id: UUID, campaign: Campaign) -> None:
    """Delete a draft that was never activated; others are archived. Raises CampaignNotFound, WrongStatus."""
    locked = _lock_campaign(workspace_id, campaign)
    if locked.active_version is not None:
        raise WrongStatus(locked.status, "what has been started is archived, not deleted")
    locked.delete()


@transaction.atomic
def execute_campaign(
    workspace_id: UUID,
    campaign: Campaign,
    contact: Contact,
    *,
    event: Event | None = None,
    key: str | None = None,
) -> EnrollmentResult:
    """Enroll a contact by hand, if re-entry allows it.

    `key`: for campaigns with one enrollment a key. Raises CampaignNotFound, WrongStatus.
    """
    lock_rules(workspace_id)
    current = get_campaign(workspace_id, campaign.id)
    if current.status != Campaign.Status.ACTIVE or current.active_version is None:
        raise WrongStatus(current.status, "only an active one can be executed")
    active_campaign = to_active_campaign(current, current.active_version)
    return start_by_hand(workspace_id, active_campaign, contact.id, event=event, key=key)


def start_by_hand(
    workspace_id: UUID,
    active_campaign: ActiveCampaign,
    contact_id: UUID,
    *,
    event: Event | None = None,
    key: str | None = None,
) -> EnrollmentResult:
    """Enroll a contact by hand, with the rules held. The decision keeps what a rehearsal needs to repeat it."""
    detail = {"start": MANUAL_START} if key is None else {"start": MANUAL_START, "key": key}
    candidate = replace(_candidate(workspace_id, contact_id, MANUAL_START, event, key), detail=detail)
    (entered,) = enroll(workspace_id, [active_campaign], [candidate], clock.now())
    return entered


MANUAL_START: Final = "manual"
"""In the detail of a decision: a request or the staff started the campaign for the contact."""


@transaction.atomic
def start_trial(
    workspace_id: UUID,
    campaign: Campaign,
    contact: Contact,
    *,
    event: Event | None = None,
    skips_waits: bool = False,
    actor: str = "",
) -> EnrollmentResult:
    """Start a trial: a test enrollment of the current draft that re-entry, reports and counters ignore.

    `skips_waits`: waits end at once. `actor`: recorded with the version.
    Raises CampaignNotFound, InvalidDefinition, WrongStatus.
    """
    locked = _lock_campaign(workspace_id, campaign)
    if locked.status in (Campaign.Status.PAUSED, Campaign.Status.ARCHIVED):
        raise WrongStatus(locked.status, "nothing goes on in it")
    definition = check_definition(workspace_id, locked.draft)
    # The campaign's period does not apply to trials.
    active_campaign = ActiveCampaign(
        locked.id, _trial_version(locked, actor).id, definition, Campaign.Status.ACTIVE
    )
    candidate = _candidate(workspace_id, contact.id, "test", event, None)
    (entered,) = enroll(workspace_id, [active_campaign], [candidate], clock.now(), is_test=True)
    if skips_waits and entered.enrollment_id is not None:
        Enrollment.objects.in_workspace(workspace_id).filter(id=entered.enrollment_id).update(
            skips_waits=True
        )
    return entered


def _candidate(
    workspace_id: UUID, contact_id: UUID, kind: str, event: Event | None, key: str | None
) -> Candidate:
    now = clock.now()
    return Candidate(
        contact_id=find(workspace_id, [contact_id]).by_id.get(contact_id, contact_id),
        source=f"{kind}:{ids.uuid7(now)}",
        occurred_at=event.occurred_at if event is not None else now,
        event_id=event.id if event is not None else None,
        depth=event.depth + 1 if event is not None else 0,
        # Normalized like an event's property.
        value=None if key is None else correlation_value_at({"key": key}, ("key",)),
    )


def _trial_version(campaign: Campaign, actor: str) -> CampaignVersion:
    """Return a version with the draft's definition: the active one if equal, else one without a number."""
    if campaign.active_version is not None and _is_same(campaign.active_version.definition, campaign.draft):
        return campaign.active_version
    trials = CampaignVersion.objects.in_workspace(campaign.workspace_id).filter(
        campaign=campaign, number=None
    )
    for version in trials.order_by("-id")[:1]:
        if _is_same(version.definition, campaign.draft):
            version.retired_at = None
            version.save(update_fields=["retired_at"])
            return version
    version = CampaignVersion(
        workspace_id=campaign.workspace_id, campaign=campaign, definition=campaign.draft, actor=actor
    )
    version.save(force_insert=True)
    return version


@transaction.atomic
def broadcast_campaign(
    workspace_id: UUID,
    campaign: Campaign,
    *,
    segment_id: UUID | None = None,
    contact_ids: list[UUID] | None = None,
    at: datetime | None = None,
    actor: str = "",
) -> Broadcast:
    """Broadcast a campaign to a segment or a list of contacts, now or at `at`; workers enroll in batches.

    The segment's members are read at that time. Raises CampaignNotFound, InvalidCampaign, WrongStatus.
    """
    current = get_campaign(workspace_id, campaign.id)
    if current.status != Campaign.Status.ACTIVE:
        raise WrongStatus(current.status, "only an active one can be sent")
    if at is not None and is_past(at):
        raise InvalidCampaign("at", _IN_PAST)
    if (segment_id is None) == (contact_ids is None):
        raise InvalidCampaign("segment_id", "Either a segment or a list of contacts is needed.")
    if segment_id is not None and not known_segments(workspace_id, [segment_id]):
        raise InvalidCampaign("segment_id", "There is no such segment.")
    if contact_ids is not None:
        contact_ids = sorted(set(find(workspace_id, contact_ids).by_id.values()))
    return schedule_broadcast(
        current, segment_id=segment_id, contact_ids=contact_ids, at=at or clock.now(), actor=actor
    )


def _activate_version(campaign: Campaign, definition: Definition, now: datetime, actor: str) -> None:
    """Create a version from the draft and make it the active one."""
    old = campaign.active_version
    if old is not None:
        cancel_date_timers(campaign.workspace_id, campaign, old)
    version = CampaignVersion(
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        number=((old and old.number) or 0) + 1,
        definition=campaign.draft,
        actor=actor,
    )
    version.save(force_insert=True)
    campaign.active_version = version
    start_date_backfill(campaign, version)
    _schedule_broadcasts(campaign, definition, now, actor)


def _schedule_broadcasts(campaign: Campaign, definition: Definition, now: datetime, actor: str) -> None:
    """Plan broadcasts of the definition's schedule triggers, and delete planned ones that it has no more.

    Broadcasts rescheduled or cancelled by hand stay so. Raises InvalidDefinition for a start in the past.
    """
    broadcasts = Broadcast.objects.in_workspace(campaign.workspace_id).filter(campaign=campaign)
    planned: set[UUID] = set()
    for place, trigger in enumerate(definition.triggers):
        if not isinstance(trigger, ScheduleTrigger):
            continue
        same = broadcasts.filter(segment_id=trigger.segment_id)
        if trigger.at is not None:
            same = same.filter(Q(scheduled_at=trigger.at) | Q(scheduled_at=None, due_at=trigger.at))
        if found := list(same.values_list("id", flat=True)):
            planned.update(found)
        elif trigger.at is not None and is_past(trigger.at):
            raise InvalidDefinition(f"triggers[{place}].at", _IN_PAST)
        else:
            new = schedule_broadcast(
                campaign,
                segment_id=trigger.segment_id,
                at=trigger.at or now,
                scheduled_at=trigger.at,
                actor=actor,
            )
            planned.add(new.id)
    unbegun = broadcasts.filter(finished_at=None, cursor=Broadcast.START, due_at__gt=now)
    unbegun.exclude(id__in=planned).delete()


def _change_status(
    workspace_id: UUID, campaign: Campaign, status: str, allowed: tuple[str, ...], otherwise: str
) -> Campaign:
    locked = _lock_campaign(workspace_id, campaign)
    if locked.status not in allowed:
        raise WrongStatus(locked.status, otherwise)
    _unpark(locked)
    locked.status = status
    return _save(locked)


def _unpark(campaign: Campaign) -> None:
    campaign.parked_at, campaign.error = None, ""


def _lock_campaign(workspace_id: UUID, campaign: Campaign) -> Campaign:
    """Lock the rules, which waits for effects that run under them, and then the campaign."""
    bump_rules_version(workspace_id)
    locked = (
        Campaign.objects.in_workspace(workspace_id)
        .select_for_update(of=("self",))
        .select_related("active_version")
        .filter(id=campaign.id)
        .first()
    )
    if locked is None:
        raise CampaignNotFound
    return locked


def _assign(
    campaign: Campaign,
    values: Mapping[str, Any],
    definition: Mapping[str, Any] | None,
    *,
    allow_past: bool,
) -> None:
    if unknown := sorted(set(values) - set(EDITABLE)):
        raise InvalidCampaign(unknown[0], "This cannot be set.")
    old_starts_at = campaign.starts_at
    for name, value in values.items():
        setattr(campaign, name, value)
    campaign.name = campaign.name.strip()
    if not 0 < len(campaign.name) <= 255 or "\x00" in campaign.name:
        raise InvalidCampaign("name", "The name must be a text of 1 to 255 characters.")
    if campaign.type not in Campaign.Type.values:
        raise InvalidCampaign("type", f"The type must be one of {', '.join(Campaign.Type.values)}.")
    if campaign.starts_at and campaign.ends_at and campaign.starts_at >= campaign.ends_at:
        raise InvalidCampaign("ends_at", "The campaign must end after it begins.")
    # A past start that is sent back unchanged is accepted.
    new_start = campaign.starts_at if campaign.starts_at != old_starts_at and not allow_past else None
    if new_start is not None and is_past(new_start):
        raise InvalidCampaign("starts_at", _IN_PAST)
    for field in SENDERS:
        if fault := sender_error(Channel.EMAIL, getattr(campaign, field)):
            raise InvalidCampaign(field, fault)
    if definition is not None:
        checked = check_definition(campaign.workspace_id, definition, require_complete=False)
        if not allow_past:
            _reject_past_schedules(campaign, checked)
        campaign.draft = dict(definition)


def _reject_past_schedules(campaign: Campaign, definition: Definition) -> None:
    """Refuse a new schedule trigger in the past. Raises InvalidDefinition."""
    for place, trigger in enumerate(definition.triggers):
        if not isinstance(trigger, ScheduleTrigger) or trigger.at is None or not is_past(trigger.at):
            continue
        if trigger not in _previous_triggers(campaign):
            raise InvalidDefinition(f"triggers[{place}].at", _IN_PAST)


def _previous_triggers(campaign: Campaign) -> tuple[Trigger, ...]:
    try:
        return parse_definition(campaign.draft, require_complete=False).triggers
    except InvalidDefinition:
        return ()


def _save(campaign: Campaign) -> Campaign:
    campaign.updated_at = clock.now()
    try:
        with transaction.atomic():
            campaign.save()
    except IntegrityError as error:
        if "campaign_name_unique" not in str(error):
            raise
        raise CampaignExists from error
    return campaign


def _is_same(raw: Any, other: Any) -> bool:
    """Return whether two definitions are equal as JSON: in Python, 1 == True."""
    return json.dumps(raw, sort_keys=True) == json.dumps(other, sort_keys=True)
