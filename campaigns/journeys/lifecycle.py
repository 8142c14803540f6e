"""Create, edit, activate, pause, finish, archive and execute campaigns.

Every change locks the workspace's rules, so no event is missed between two versions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from campaigns.journeys.broadcasts import (
    is_past,
    new_broadcast,
    schedule_broadcasts,
)
from campaigns.journeys.correlation import correlation_value_at
from campaigns.journeys.date_triggers import cancel_date_timers, start_date_backfills
from campaigns.journeys.definition.parser import Definition, parse_definition
from campaigns.journeys.definition.triggers import ScheduleTrigger, Trigger
from campaigns.journeys.definition_checks import check_definition
from campaigns.journeys.eligibility import Candidate
from campaigns.journeys.enrollment import EnrollmentResult, enroll
from campaigns.journeys.goals_and_exits import end_enrollments
from campaigns.journeys.plans import ActiveCampaign, to_active_campaign
from campaigns.messaging.senders import SENDERS, sender_error
from campaigns.models import Broadcast, Campaign, CampaignVersion, Enrollment
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.wake_ups import campaign_wake_ups, enrollment_wake_ups
from config import clock, ids
from config.db.bulk import insert_rows, update_rows
from contacts.identity.lookup import find
from contacts.models import Contact
from events.models import Event
from events.processing.passes import bump_rules_version, lock_rules
from segments.membership_conditions import known_segments

EDITABLE: Final = ("name", "description", "type", "starts_at", "ends_at", "priority", *SENDERS)
_WRITTEN: Final = (
    *EDITABLE,
    "draft",
    "status",
    "active_version",
    "activated_at",
    "parked_at",
    "error",
    "updated_at",
)
_ARCHIVE_BATCH_SIZE: Final = 5_000
_IN_PAST: Final = "It lies in the past."


def get_campaign(workspace_id: UUID, campaign_id: UUID) -> Campaign:
    """Return a campaign. Raises CampaignNotFound."""
    campaign = Campaign.objects.in_workspace(workspace_id).filter(id=campaign_id).first()
    if campaign is None:
        raise CampaignNotFound
    return campaign


@dataclass(frozen=True, slots=True)
class _Activation:
    """A version that is to serve, and its broadcasts: those to plan, and the planned ones that it keeps."""

    campaign: Campaign
    old: CampaignVersion | None
    version: CampaignVersion
    broadcasts: list[Broadcast]
    kept: set[UUID]


class CampaignEdits:
    """New, changed and activated campaigns of a workspace, checked one by one and written in one transaction.

    The campaigns that are to be changed are locked, after the workspace's rules.
    """

    def __init__(self, workspace_id: UUID, campaign_ids: Collection[UUID] = ()) -> None:
        self.workspace_id = workspace_id
        self._held = _lock_campaigns(workspace_id, campaign_ids) if campaign_ids else {}
        self._holds_rules = bool(campaign_ids)
        self._created: dict[UUID, Campaign] = {}
        self._changed: dict[UUID, Campaign] = {}
        self._activations: list[_Activation] = []
        self._restarted: list[tuple[Campaign, CampaignVersion]] = []
        self._wakes = False

    def create(
        self,
        *,
        name: str,
        definition: Mapping[str, Any] | None = None,
        allow_past: bool = False,
        **values: Any,
    ) -> Campaign:
        """Return a new draft, as `create_campaign` does."""
        campaign = Campaign(workspace_id=self.workspace_id)
        definition = definition if definition is not None else {}
        _assign(campaign, {"name": name, **values}, definition, allow_past=allow_past)
        self._created[campaign.id] = campaign
        return campaign

    def update(
        self,
        campaign: Campaign,
        *,
        definition: Mapping[str, Any] | None = None,
        allow_past: bool = False,
        **values: Any,
    ) -> Campaign:
        """Change one of the locked campaigns, as `update_campaign` does."""
        locked = self._campaign(campaign)
        if locked.status == Campaign.Status.ARCHIVED:
            raise WrongStatus(locked.status, "it can be changed no more")
        _assign(locked, values, definition, allow_past=allow_past)
        self._changed[locked.id] = locked
        return locked

    def activate(self, campaign: Campaign, *, actor: str = "") -> Campaign:
        """Make the draft of a new or locked campaign the active version, as `activate_campaign` does."""
        if not self._holds_rules:
            bump_rules_version(self.workspace_id)
            self._holds_rules = True
        locked = self._campaign(campaign)
        if locked.status == Campaign.Status.ARCHIVED:
            raise WrongStatus(locked.status, "it can be started no more")
        definition = check_definition(self.workspace_id, locked.draft)
        now = clock.now()
        old = locked.active_version
        if old is None or not _is_same(old.definition, locked.draft):
            self._activate_version(locked, definition, now, actor)
        elif locked.status == Campaign.Status.COMPLETED:
            # Its timers were not maintained meanwhile.
            self._restarted.append((locked, old))
        _unpark(locked)
        locked.status = Campaign.Status.ACTIVE
        locked.activated_at = locked.activated_at or now
        self._wakes = True
        if locked.id not in self._created:
            self._changed[locked.id] = locked
        return locked

    def write(self) -> None:
        """Write what was created, changed and activated. Raises CampaignExists."""
        created, changed = list(self._created.values()), list(self._changed.values())
        for campaign in [*created, *changed]:
            campaign.updated_at = clock.now()
        with _unique_names(self.workspace_id, created):
            insert_rows(created)
            insert_rows([activation.version for activation in self._activations])
            update_rows(Campaign.objects.in_workspace(self.workspace_id), changed, _WRITTEN)
        replaced = [each for each in self._activations if each.old is not None]
        self._end_replaced(replaced)
        serving = [(each.campaign, each.version) for each in self._activations]
        start_date_backfills(self.workspace_id, [*serving, *self._restarted])
        schedule_broadcasts(self.workspace_id, [new for each in self._activations for new in each.broadcasts])
        if self._wakes:
            enrollment_wake_ups.wake(self.workspace_id)
            campaign_wake_ups.wake(self.workspace_id)

    def _campaign(self, campaign: Campaign) -> Campaign:
        found = self._created.get(campaign.id) or self._held.get(campaign.id)
        if found is None:
            raise CampaignNotFound
        return found

    def _activate_version(
        self, campaign: Campaign, definition: Definition, now: datetime, actor: str
    ) -> None:
        """Create a version from the draft and make it the active one."""
        old = campaign.active_version
        version = campaign.active_version = CampaignVersion(
            workspace_id=campaign.workspace_id,
            campaign=campaign,
            number=((old and old.number) or 0) + 1,
            definition=campaign.draft,
            actor=actor,
        )
        planned = _plan_broadcasts(campaign, definition, now, actor, has_planned=old is not None)
        self._activations.append(_Activation(campaign, old, version, *planned))

    def _end_replaced(self, replaced: Sequence[_Activation]) -> None:
        """Cancel the date timers of versions that serve no more, and planned broadcasts that are not kept."""
        if not replaced:
            return
        cancel_date_timers(self.workspace_id, [(each.campaign, each.old) for each in replaced if each.old])
        unbegun = Broadcast.objects.in_workspace(self.workspace_id).filter(
            campaign__in=[each.campaign for each in replaced],
            finished_at=None,
            cursor=Broadcast.START,
            due_at__gt=clock.now(),
        )
        unbegun.exclude(id__in={kept for each in replaced for kept in each.kept}).delete()


@transaction.atomic
def create_campaign(workspace_id: UUID, **values: Any) -> Campaign:
    """Create a draft of the values of `CampaignEdits.create`.

    They are a definition and fields of EDITABLE; `allow_past`: it may say starts that have passed.
    Raises CampaignExists, InvalidCampaign, InvalidDefinition.
    """
    edits = CampaignEdits(workspace_id)
    campaign = edits.create(**values)
    edits.write()
    return campaign


@transaction.atomic
def update_campaign(workspace_id: UUID, campaign: Campaign, **values: Any) -> Campaign:
    """Update a campaign; the definition only as a draft, until the next activation. `values`: as for a new one.

    Raises CampaignNotFound, CampaignExists, InvalidCampaign, InvalidDefinition, WrongStatus.
    """
    edits = CampaignEdits(workspace_id, [campaign.id])
    changed = edits.update(campaign, **values)
    edits.write()
    return changed


@transaction.atomic
def activate_campaign(workspace_id: UUID, campaign: Campaign, *, actor: str = "") -> Campaign:
    """Make the draft the active version. Open enrollments keep the version that they started on.

    `actor`: recorded with the version. Raises CampaignNotFound, InvalidDefinition, WrongStatus.
    """
    edits = CampaignEdits(workspace_id, [campaign.id])
    active = edits.activate(campaign, actor=actor)
    edits.write()
    return active


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
        cancel_date_timers(workspace_id, [(locked, locked.active_version)])
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
    broadcast = new_broadcast(
        current, segment_id=segment_id, contact_ids=contact_ids, at=at or clock.now(), actor=actor
    )
    schedule_broadcasts(workspace_id, [broadcast])
    return broadcast


def _plan_broadcasts(
    campaign: Campaign, definition: Definition, now: datetime, actor: str, *, has_planned: bool
) -> tuple[list[Broadcast], set[UUID]]:
    """Return what schedule triggers plan anew, and the ids of what is planned by them already.

    Broadcasts rescheduled or cancelled by hand stay so. Raises InvalidDefinition for a start in the past.
    """
    standing = Broadcast.objects.in_workspace(campaign.workspace_id).filter(campaign=campaign)
    new: list[Broadcast] = []
    kept: set[UUID] = set()
    for place, trigger in enumerate(definition.triggers):
        if not isinstance(trigger, ScheduleTrigger):
            continue
        same = standing.filter(segment_id=trigger.segment_id)
        if trigger.at is not None:
            same = same.filter(Q(scheduled_at=trigger.at) | Q(scheduled_at=None, due_at=trigger.at))
        found = list(same.values_list("id", flat=True)) if has_planned else []
        kept.update(found)
        if found or any(_is_of(broadcast, trigger) for broadcast in new):
            continue
        if trigger.at is not None and is_past(trigger.at):
            raise InvalidDefinition(f"triggers[{place}].at", _IN_PAST)
        at = trigger.at or now
        new.append(
            new_broadcast(
                campaign, segment_id=trigger.segment_id, at=at, scheduled_at=trigger.at, actor=actor
            )
        )
    return new, kept


def _is_of(broadcast: Broadcast, trigger: ScheduleTrigger) -> bool:
    """Return whether a broadcast that is planned just now is another trigger's, too."""
    is_then = trigger.at is None or trigger.at in (broadcast.scheduled_at, broadcast.due_at)
    return broadcast.segment_id == trigger.segment_id and is_then


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
    locked = _lock_campaigns(workspace_id, [campaign.id]).get(campaign.id)
    if locked is None:
        raise CampaignNotFound
    return locked


def _lock_campaigns(workspace_id: UUID, campaign_ids: Collection[UUID]) -> dict[UUID, Campaign]:
    """Lock the rules, which waits for effects that run under them, and then campaigns. Returns these by id."""
    bump_rules_version(workspace_id)
    campaigns = (
        Campaign.objects.in_workspace(workspace_id)
        .select_for_update(of=("self",))
        .select_related("active_version")
        .filter(id__in=campaign_ids)
    )
    return {campaign.id: campaign for campaign in campaigns.order_by("id")}


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
    campaign.save(update_fields=_WRITTEN)
    return campaign


@contextmanager
def _unique_names(workspace_id: UUID, created: Sequence[Campaign]) -> Iterator[None]:
    """Raise CampaignExists, of one of the new names if it is theirs."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "campaign_name_unique" not in str(error):
            raise
        names = [campaign.name for campaign in created]
        taken = Campaign.objects.in_workspace(workspace_id).filter(name__in=names)
        raise CampaignExists(taken.values_list("name", flat=True).first() or "") from error


def _is_same(raw: Any, other: Any) -> bool:
    """Return whether two definitions are equal as JSON: in Python, 1 == True."""
    return json.dumps(raw, sort_keys=True) == json.dumps(other, sort_keys=True)
