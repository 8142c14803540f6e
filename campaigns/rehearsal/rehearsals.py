"""Order and run rehearsals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q

from campaigns.errors import InvalidRehearsal
from campaigns.journeys.date_triggers import schedule_dates
from campaigns.journeys.definition.triggers import ManualTrigger
from campaigns.journeys.definition_checks import check_definition
from campaigns.journeys.plans import build_plan, to_active_campaign
from campaigns.models import Campaign, CampaignVersion, ChannelSettings, Rehearsal, RehearsedEnrollment
from campaigns.rehearsal.events import collect_history, history_size, names_of_definition
from campaigns.rehearsal.history import (
    ContactHistory,
    History,
    SentMessageHistory,
    advance,
    show_scores,
)
from campaigns.rehearsal.limits import Limit, imported_limit, limits_of
from campaigns.rehearsal.report import differences_of, rehearsed_enrollments, report_of
from campaigns.rehearsal.session import InCaller, hide_tables, run_in_session, show_now
from campaigns.rehearsal.starts import contacts_of, load_starts, run_starts
from campaigns.rehearsal.timeline import COARSE, FINE_UNTIL, Timeline
from campaigns.schedule import REHEARSAL_SILENCE
from config import clock, ids
from config.db.backfill import BATCH_ROWS
from config.db.constant_rows import constant_rows
from config.db.errors import storable_error
from config.db.plans import kept_plans
from config.db.statements import execute
from config.errors import DomainError
from config.runtime import background
from events.stream.partitions import no_partitions

DRAFT: Final = "draft"
MAX_VERSIONS: Final = 2
KEPT: Final = 20
"""Rehearsals of a campaign that are kept; the oldest go first."""
MAX_ATTEMPTS: Final = 3
"""How often one is begun: what kills its worker each time would go on for ever."""
_REPORT_SECONDS: Final = 1.0
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@transaction.atomic
def order_rehearsal(
    campaign: Campaign,
    since: datetime,
    until: datetime,
    versions: Sequence[str | int] = (),
    *,
    actor: str = "",
    is_run_by_caller: bool = False,
) -> Rehearsal:
    """Order a rehearsal of one version or two; a worker runs it after the commit, unless the caller does.

    `versions`: "draft", or numbers of versions; by default the active one, or the draft where there is none.
    Raises InvalidRehearsal, InvalidDefinition.
    """
    if since >= until:
        raise InvalidRehearsal("until", "Must be after the beginning.")
    if since < _EARLIEST:
        raise InvalidRehearsal("since", "Must not be before 1970: nothing happened before.")
    if until > clock.now():
        raise InvalidRehearsal("until", "Must be past: a rehearsal is about what has happened.")
    if not versions:
        versions = [DRAFT if campaign.active_version is None else campaign.active_version.number or DRAFT]
    if len(versions) > MAX_VERSIONS:
        raise InvalidRehearsal("versions", f"At most {MAX_VERSIONS}.")
    rehearsal = Rehearsal.objects.create(
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        since=since,
        until=until,
        versions=[_version(campaign, version, since, until) for version in versions],
        actor=actor,
        **(
            {"status": Rehearsal.Status.RUNNING, "active_at": clock.now(), "attempts": 1}
            if is_run_by_caller
            else {}
        ),
    )
    rehearsals = Rehearsal.objects.in_workspace(campaign.workspace_id).filter(campaign=campaign)
    kept = rehearsals.order_by("-id").values_list("id", flat=True)[:KEPT]
    ended = rehearsals.filter(status__in=[Rehearsal.Status.DONE, Rehearsal.Status.FAILED])
    ended.exclude(id__in=list(kept)).delete()
    if not is_run_by_caller:
        background.wake("campaigns.tasks.run_rehearsals")
    return rehearsal


def _version(campaign: Campaign, version: str | int, since: datetime, until: datetime) -> dict[str, Any]:
    if version == DRAFT:
        definition, label = campaign.draft, DRAFT
    else:
        row = (
            CampaignVersion.objects.in_workspace(campaign.workspace_id)
            .filter(campaign=campaign, number=version)
            .first()
        )
        if row is None:
            raise InvalidRehearsal("versions", f"There is no version {version}.")
        definition, label = row.definition, f"version {version}"
    triggers = check_definition(campaign.workspace_id, definition).triggers
    starts_by_itself = any(not isinstance(trigger, ManualTrigger) for trigger in triggers)
    if not starts_by_itself and not load_starts(campaign, triggers, since, until).moments:
        raise InvalidRehearsal(
            "versions",
            f"The {label} has no trigger, and neither broadcasts nor requests started the campaign in the period:"
            " nothing to rehearse.",
        )
    return {"label": label, "definition": definition}


def run_waiting() -> int:
    """Run the rehearsals that are ordered, or whose process died, one after the other. Returns how many."""
    count = 0
    while (rehearsal := _claim()) is not None:
        run_rehearsal(rehearsal)
        count += 1
    return count


@transaction.atomic
def _claim() -> Rehearsal | None:
    """Take the next that may run; one whose process died again and again has failed."""
    # One after the other: two would both count a workspace's running ones before either has begun.
    execute("SELECT pg_advisory_xact_lock(hashtextextended('rehearsals', 0))")
    now = clock.now()
    is_alive = Q(status=Rehearsal.Status.RUNNING, active_at__gte=now - REHEARSAL_SILENCE)
    full = (
        Rehearsal.objects.filter(is_alive)
        .order_by()
        .values("workspace_id")
        .annotate(count=Count("id"))
        .filter(count__gte=settings.REHEARSALS_PER_WORKSPACE)
    )
    waiting = Rehearsal.objects.filter(
        Q(status=Rehearsal.Status.QUEUED)
        | Q(status=Rehearsal.Status.RUNNING, active_at__lt=now - REHEARSAL_SILENCE)
    ).exclude(workspace_id__in=full.values("workspace_id"))
    for rehearsal in waiting.order_by("id"):
        if rehearsal.attempts < MAX_ATTEMPTS:
            rehearsal.status, rehearsal.active_at = Rehearsal.Status.RUNNING, now
            rehearsal.attempts += 1
            rehearsal.save(update_fields=["status", "active_at", "attempts"])
            return rehearsal
        rehearsal.status, rehearsal.error = Rehearsal.Status.FAILED, f"Its worker died {MAX_ATTEMPTS} times."
        _finish(rehearsal)
    return None


def run_rehearsal(rehearsal: Rehearsal, report_progress: Callable[[float], None] = lambda _: None) -> None:
    """Run a rehearsal and save its report. One that fails keeps its error.

    `report_progress` is called with the share that is done, 0 to 1, once a second.
    """
    # Of a process that died.
    _enrollments_of(rehearsal).delete()
    try:
        reports = [
            _rehearse_version(rehearsal, place, report_progress) for place in range(len(rehearsal.versions))
        ]
    except _NotOurs:
        return
    except Exception as error:
        rehearsal.status, rehearsal.error = Rehearsal.Status.FAILED, storable_error(error)
        if not isinstance(error, DomainError):
            _finish(rehearsal)
            raise
    else:
        if not _is_ours(rehearsal):
            return
        rehearsal.report = {"versions": reports, "differences": _differences(rehearsal)}
        rehearsal.status, rehearsal.progress = Rehearsal.Status.DONE, 1.0
    _finish(rehearsal)


def _finish(rehearsal: Rehearsal) -> None:
    rehearsal.finished_at = clock.now()
    rehearsal.save(update_fields=["status", "progress", "report", "error", "finished_at"])


def _enrollments_of(rehearsal: Rehearsal) -> Any:
    return RehearsedEnrollment.objects.in_workspace(rehearsal.workspace_id).filter(rehearsal=rehearsal)


def _differences(rehearsal: Rehearsal) -> dict[str, int] | None:
    if len(rehearsal.versions) < MAX_VERSIONS:
        return None
    entered = [
        set(_enrollments_of(rehearsal).filter(version=place).values_list("contact_id", flat=True))
        for place in range(MAX_VERSIONS)
    ]
    return differences_of(*entered)


def _rehearse_version(
    rehearsal: Rehearsal, place: int, report_progress: Callable[[float], None]
) -> dict[str, Any]:
    """Rehearse one of the versions, and save its enrollments. Returns its report."""
    campaign, version = _rehearsed_rows(rehearsal, place)

    def save(batch: Sequence[RehearsedEnrollment]) -> None:
        _show_life(rehearsal)
        for row in batch:
            row.rehearsal = rehearsal
        RehearsedEnrollment.objects.bulk_create(batch)

    def note(share: float) -> None:
        rehearsal.progress = (place + share) / len(rehearsal.versions)
        _show_life(rehearsal)
        report_progress(rehearsal.progress)

    def rehearse(in_caller: InCaller) -> dict[str, Any]:
        timeline, limits = _prepare(rehearsal, campaign, version)
        last = monotonic()

        def note_each_second(share: float) -> None:
            nonlocal last
            if monotonic() - last > _REPORT_SECONDS:
                last = monotonic()
                in_caller(lambda: note(share))

        timeline.report_progress = note_each_second
        with kept_plans(), constant_rows(), no_partitions():
            timeline.run()
        for batch in rehearsed_enrollments(campaign, place):
            in_caller(partial(save, batch))
        report = report_of(campaign, rehearsal.versions[place]["label"], timeline.events_seen)
        return report | {"limits": limits}

    return run_in_session(rehearse, heartbeat=partial(_show_life, rehearsal))


class _NotOurs(Exception):
    """It was deleted, or taken for dead and begun by another process."""


def _show_life(rehearsal: Rehearsal) -> None:
    """Save that its process lives, and its progress. Raises _NotOurs."""
    if not _is_ours(rehearsal):
        raise _NotOurs


def _is_ours(rehearsal: Rehearsal) -> bool:
    """Save that its process lives, unless another has it, and return whether this one has it."""
    ours = Rehearsal.objects.in_workspace(rehearsal.workspace_id).filter(
        id=rehearsal.pk, status=Rehearsal.Status.RUNNING, attempts=rehearsal.attempts
    )
    return bool(ours.update(active_at=clock.now(), progress=rehearsal.progress))


def _rehearsed_rows(rehearsal: Rehearsal, place: int) -> tuple[Campaign, CampaignVersion]:
    """Return the campaign as if it had been activated with the version at the beginning, and that version."""
    campaign = Campaign.objects.in_workspace(rehearsal.workspace_id).get(id=rehearsal.campaign_id)
    version = CampaignVersion(
        id=ids.uuid7(),
        workspace_id=rehearsal.workspace_id,
        campaign=campaign,
        number=place + 1,
        definition=rehearsal.versions[place]["definition"],
        created_at=rehearsal.since,
    )
    campaign.active_version, campaign.status = version, Campaign.Status.ACTIVE
    campaign.starts_at = campaign.ends_at = campaign.parked_at = None
    campaign.activated_at, campaign.error = rehearsal.since, ""
    return campaign, version


def _prepare(
    rehearsal: Rehearsal, campaign: Campaign, version: CampaignVersion
) -> tuple[Timeline, list[Limit]]:
    """Set the session to the beginning of the rehearsal. Returns also the limits that apply."""
    workspace_id, since, until = rehearsal.workspace_id, rehearsal.since, rehearsal.until
    active_campaign = to_active_campaign(campaign, version)
    names, attributes = names_of_definition(active_campaign)
    starts = load_starts(campaign, active_campaign.definition.triggers, since, until)
    started = contacts_of(workspace_id, starts)
    found = collect_history(workspace_id, campaign.pk, names, since, until, attributes=attributes)
    contact_ids = sorted({*found, *started})
    is_coarse = history_size() > FINE_UNTIL
    limits = limits_of(
        campaign,
        active_campaign.definition,
        version.definition,
        starts,
        contact_ids,
        (since, until),
        is_coarse=is_coarse,
    )
    capped = ChannelSettings.objects.in_workspace(workspace_id).filter(cap_count__isnull=False)
    window = timedelta(hours=max((row.cap_hours for row in capped), default=0))
    hide_tables(workspace_id, campaign, version)
    for broadcast in starts.broadcasts:
        broadcast.save(force_insert=True)
    contacts = ContactHistory.load(workspace_id, contact_ids, since)
    histories: list[History] = [
        contacts,
        SentMessageHistory.load(workspace_id, campaign.pk, contact_ids, since, until, window),
    ]
    show_scores(workspace_id, contact_ids, since, until)
    with clock.virtual(since):
        show_now(since)
        for statement in advance(histories, since):
            execute(*statement)
        for start in range(0, len(contact_ids), BATCH_ROWS):
            schedule_dates(workspace_id, active_campaign, contact_ids[start : start + BATCH_ROWS], since)
    timeline = Timeline(
        workspace_id,
        build_plan(workspace_id),
        since,
        until,
        histories,
        COARSE if is_coarse else timedelta(),
        start_moments=starts.moments,
        start=partial(run_starts, active_campaign, campaign, starts),
        started_contacts=started,
    )
    return timeline, limits + imported_limit(contacts.imported)
