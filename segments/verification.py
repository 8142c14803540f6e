"""Verify memberships against the stream and the tables of contacts, by a reference evaluator in Python.

Contacts are evaluated without a lock first. Only where one differs is its lane held and everything read
again: what still waits there for its effects is no difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from uuid import UUID

from django.db import connection

from config import clock
from config.ids import NO_ID
from contacts.identity.lookup import find
from contacts.models import Contact
from events.aggregates.registry import built_aggregates, recompute_aggregates
from events.id_bounds import known_until
from events.models import EffectsLevel, Event, EventBatch, Timer
from events.processing.passes import lock_lane
from events.rules import Rule, aggregates_of_rule
from events.rules.reference import Person, holds
from events.stream.derived_events import record_derived_events
from events.stream.outbox import lane_of
from segments.evaluation import evaluate_contacts, merged_ids
from segments.models import Membership, Segment
from segments.plans import RuleVersion, parse_rule_version
from segments.publication import MembershipChange, derived_event_of, publish_changes
from segments.reference_data import load_people

CHUNK = 200
"""Contacts that are read at once, with all their events of the names that rules speak of."""


class DifferenceKind(StrEnum):
    """What is wrong with a contact in a segment."""

    MISSING = "should be in it"
    SURPLUS = "should not be in it"
    STRAY = "is in it, and is no contact that stands"
    UNPUBLISHED = "entered or left untold"


@dataclass(frozen=True, slots=True)
class Difference:
    """A contact in a segment that is not as it should be."""

    segment_id: UUID
    contact_id: UUID
    kind: DifferenceKind


@dataclass(slots=True)
class Verification:
    """What was looked at, and what was found."""

    contacts: int = 0
    segments: int = 0
    # Parked, unreadable or not built yet: what serves there is not what the rule says now.
    skipped: list[str] = field(default_factory=list)
    # Of these, a sentence for each whose rule cannot be read.
    unreadable: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    repaired: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether everything is as it should be now."""
        return self.repaired == len(self.differences)

    def add(self, further: Verification) -> None:
        """Add what was found in other contacts of the same segments."""
        self.contacts += further.contacts
        self.segments, self.skipped, self.unreadable = further.segments, further.skipped, further.unreadable
        self.differences += further.differences
        self.repaired += further.repaired


def verify_segments(
    workspace_id: UUID, *, segment_ids: Collection[UUID] = (), repair: bool = False
) -> Verification:
    """Compare memberships of some segments, by default all, with what the stream says.

    `repair` decides again what differs, by the decision's own path; nobody's campaign starts by it.
    """
    last, found = NO_ID, Verification()
    standing = Contact.objects.in_workspace(workspace_id).canonical().order_by("id")
    while chunk := list(standing.filter(id__gt=last).values_list("id", flat=True)[:CHUNK]):
        found.add(verify_batch(workspace_id, chunk, segment_ids=segment_ids, repair=repair))
        last = chunk[-1]
    found.add(verify_whole_segments(workspace_id, segment_ids=segment_ids, repair=repair))
    return found


def verify_batch(
    workspace_id: UUID,
    contact_ids: Sequence[UUID],
    *,
    segment_ids: Collection[UUID] = (),
    repair: bool = False,
) -> Verification:
    """Compare contacts' memberships with what the stream says; as verify_segments."""
    work = _Work(workspace_id, segment_ids, repair)
    work.evaluate(contact_ids)
    return work.found


def verify_whole_segments(
    workspace_id: UUID, *, segment_ids: Collection[UUID] = (), repair: bool = False
) -> Verification:
    """Look for members that are no contacts, and for changes of members that were not published."""
    work = _Work(workspace_id, segment_ids, repair)
    work.find_strays()
    work.find_unpublished()
    return work.found


class _Work:
    def __init__(self, workspace_id: UUID, segment_ids: Collection[UUID], repair: bool) -> None:
        self.workspace_id = workspace_id
        self.segment_ids = frozenset(segment_ids)
        self.repair = repair
        self.found = Verification()
        rulebook = self._rulebook()
        self.found.segments = len(rulebook.segments)
        self.found.skipped = sorted(rulebook.skipped)
        self.found.unreadable = [
            f"{segment.name}: its rule cannot be read: {error}"
            for segment, error in rulebook.unreadable.items()
            if segment.name in rulebook.skipped
        ]

    def evaluate(self, contact_ids: Sequence[UUID]) -> None:
        """Evaluate contacts without a lock, and those that differ once more with one."""
        self.found.contacts += len(contact_ids)
        suspects = {difference.contact_id for difference in self._rulebook().differences(contact_ids)}
        for lane, ids in _by_lane(suspects).items():
            with lock_lane(self.workspace_id, lane):
                rulebook = self._rulebook()
                differences = rulebook.differences(sorted(ids))
                # Asked last: an event that came in meanwhile is seen here, if it was seen above.
                waiting = _waiting(self.workspace_id, lane, ids, rulebook.versions)
                sure = [difference for difference in differences if difference.contact_id not in waiting]
                self._resolve(rulebook, sure, rulebook.differences)

    def find_strays(self) -> None:
        """Find members that are no contacts any more, or part of another."""
        self._look(_Rulebook.strays)

    def find_unpublished(self) -> None:
        """Find members without an open membership period, and open periods without a member."""
        self._look(_Rulebook.unpublished)

    def _look(self, look: Callable[[_Rulebook, Collection[UUID] | None], list[Difference]]) -> None:
        """Look everywhere without a lock, then with one at those that were found."""
        suspects = {difference.contact_id for difference in look(self._rulebook(), None)}
        survivors = find(self.workspace_id, suspects).by_id
        for lane, ids in _by_lane({survivors.get(contact_id, contact_id) for contact_id in suspects}).items():
            with lock_lane(self.workspace_id, lane):
                rulebook = self._rulebook()
                of_lane = {
                    contact_id for contact_id in suspects if survivors.get(contact_id, contact_id) in ids
                }
                differences = look(rulebook, of_lane)
                waiting = _waiting(self.workspace_id, lane, ids, rulebook.versions)
                sure = [
                    difference
                    for difference in differences
                    if survivors.get(difference.contact_id, difference.contact_id) not in waiting
                ]
                self._resolve(rulebook, sure, partial(look, rulebook))

    def _resolve(
        self,
        rulebook: _Rulebook,
        differences: Sequence[Difference],
        again: Callable[[Collection[UUID]], list[Difference]],
    ) -> None:
        """Note differences and, if that is wanted, repair them; the lane is held."""
        self.found.differences += differences
        if self.repair and differences:
            rulebook.repair(differences)
            left = again(sorted({difference.contact_id for difference in differences}))
            self.found.repaired += len(differences) - len(set(left) & set(differences))

    def _rulebook(self) -> _Rulebook:
        return _Rulebook(self.workspace_id, self.segment_ids)


class _Rulebook:
    """The segments as they are at a moment: rules may be edited while contacts are looked at."""

    def __init__(self, workspace_id: UUID, segment_ids: Collection[UUID]) -> None:
        self.workspace_id = workspace_id
        self.segments: dict[UUID, Segment] = {}
        self.rules: dict[UUID, Rule] = {}
        self.skipped: list[str] = []
        self.unreadable: dict[Segment, Exception] = {}
        for segment in Segment.objects.in_workspace(workspace_id):
            rule = None if segment.is_static else _rule_of(segment)
            if isinstance(rule, Exception):
                self.unreadable[segment] = rule
            elif rule is not None:
                self.rules[segment.id] = rule
            if not segment_ids or segment.id in segment_ids:
                self.segments[segment.id] = segment
        self._skip()

    def _skip(self) -> None:
        """Leave out segments without a rule in force, and those built on one that is still being published."""
        announcing = set(
            Segment.objects.in_workspace(self.workspace_id)
            .exclude(publishing_since=None)
            .values_list("id", flat=True)
        )
        for segment in list(self.segments.values()):
            has_rule = segment.is_static or segment.id in self.rules
            if not has_rule or not announcing.isdisjoint(self._below(segment.id)):
                self.skipped.append(segment.name)
                del self.segments[segment.id]

    def _below(self, segment_id: UUID) -> dict[UUID, None]:
        """Return the segments that a segment builds on, directly or not, the lowest first."""
        found: dict[UUID, None] = {}
        visited = {segment_id}

        def walk(current: UUID) -> None:
            for target in sorted(self.rules[current].segment_ids) if current in self.rules else ():
                if target not in visited:
                    visited.add(target)
                    walk(target)
                    found[target] = None

        walk(segment_id)
        return found

    @property
    def versions(self) -> list[UUID]:
        """The timer keys of the segments."""
        return [segment.version for segment in self.segments.values()]

    def differences(self, contact_ids: Collection[UUID]) -> list[Difference]:
        """Evaluate contacts by every rule, and compare with the memberships."""
        dynamic = [segment for segment_id, segment in self.segments.items() if segment_id in self.rules]
        stored = self._stored(contact_ids)
        names = {name for rule in self.rules.values() for name in rule.event_names}
        people = load_people(self.workspace_id, contact_ids, names) if dynamic else []
        now = clock.now()
        found = []
        for person in people:
            _date_by(person, now)
            answers = _Answers(self.rules, person, now)
            for segment in dynamic:
                is_stored, is_right = (segment.version, person.id) in stored, answers.is_member(segment.id)
                if is_stored != is_right:
                    kind = DifferenceKind.MISSING if is_right else DifferenceKind.SURPLUS
                    found.append(Difference(segment.id, person.id, kind))
        return found

    def strays(self, contact_ids: Collection[UUID] | None) -> list[Difference]:
        """Return members that should not be any: those of a static segment may have been merged into another."""
        found = []
        for segment in self.segments.values():
            members = Membership.objects.in_workspace(self.workspace_id).filter(version=segment.version)
            if contact_ids is not None:
                members = members.filter(contact_id__in=contact_ids)
            fit = Contact.objects.in_workspace(self.workspace_id)
            fit = fit if segment.is_static else fit.canonical()
            stray = members.exclude(contact_id__in=fit.values("id")).values_list("contact_id", flat=True)
            found += [Difference(segment.id, contact_id, DifferenceKind.STRAY) for contact_id in stray]
        return found

    def unpublished(self, contact_ids: Collection[UUID] | None) -> list[Difference]:
        """Return contacts that are in and have no open membership period, or the other way round."""
        found = []
        for segment in self.segments.values():
            if segment.publishing_since is not None:
                continue
            with connection.cursor() as cursor:
                wanted = None if contact_ids is None else list(contact_ids)
                cursor.execute(
                    _UNPUBLISHED,
                    [self.workspace_id, segment.version, self.workspace_id, segment.id, wanted, wanted],
                )
                found += [
                    Difference(segment.id, contact_id, DifferenceKind.UNPUBLISHED)
                    for (contact_id,) in cursor.fetchall()
                ]
        return found

    def repair(self, differences: Sequence[Difference]) -> None:
        """Decide again, and publish what has not been published; the lane of the contacts is held."""
        now = clock.now()
        by_segment: dict[UUID, list[Difference]] = defaultdict(list)
        for difference in differences:
            by_segment[difference.segment_id].append(difference)
        # Who builds on a segment has it below: the lower ones are decided first.
        for segment_id, own in sorted(by_segment.items(), key=lambda item: len(self._below(item[0]))):
            segment, contact_ids = self.segments[segment_id], [difference.contact_id for difference in own]
            strays = [difference.contact_id for difference in own if difference.kind is DifferenceKind.STRAY]
            members = Membership.objects.in_workspace(self.workspace_id).filter(version=segment.version)
            members.filter(contact_id__in=strays).delete()
            if segment_id in self.rules:
                self._reevaluate(segment, contact_ids)
            inside = set(members.filter(contact_id__in=contact_ids).values_list("contact_id", flat=True))
            moves = [
                MembershipChange(segment_id, contact_id, contact_id in inside, now)
                for contact_id in contact_ids
            ]
            news = [
                derived_event_of(move, segment.name, level=EffectsLevel.SCORES_AND_SEGMENTS)
                for move in publish_changes(self.workspace_id, moves)
            ]
            record_derived_events(self.workspace_id, news, now=now)

    def _reevaluate(self, segment: Segment, contact_ids: Sequence[UUID]) -> None:
        rule, now = self.rules[segment.id], clock.now()
        merged = merged_ids(self.workspace_id, contact_ids)
        # What the decision reads must be right, or it decides as before.
        built = built_aggregates(self.workspace_id)
        if kept := sorted(built & aggregates_of_rule(rule), key=lambda spec: spec.key):
            everybody = {
                *contact_ids,
                *(UUID(merged_id) for ids in merged.values() for merged_id in ids[1:-1].split(",")),
            }
            recompute_aggregates(self.workspace_id, sorted(everybody), kept)
        rule_version = RuleVersion(segment.id, segment.version, rule, True)
        evaluate_contacts(self.workspace_id, rule_version, contact_ids, built, now)

    def _stored(self, contact_ids: Collection[UUID]) -> set[tuple[UUID, UUID]]:
        rows = Membership.objects.in_workspace(self.workspace_id).filter(
            contact_id__in=contact_ids, version__in=self.versions
        )
        return set(rows.values_list("version", "contact_id"))


class _Answers:
    """What the rules say of a person; a segment that another builds on is evaluated as well, not read."""

    def __init__(self, rules: dict[UUID, Rule], person: Person, as_of: datetime) -> None:
        self.rules = rules
        self.person = person
        self.as_of = as_of
        self.given: dict[UUID, bool] = {}

    def is_member(self, segment_id: UUID) -> bool:
        """Return whether the person should be in a segment; of one without a sound rule, whether it is."""
        if segment_id not in self.given:
            stored = segment_id in self.person.segments
            rule = self.rules.get(segment_id)
            # A cycle, which no service lets in, ends at what is stored.
            self.given[segment_id] = stored
            if rule is not None:
                self.given[segment_id] = holds(rule.root, self.person, self.as_of, self.is_member)
        return self.given[segment_id]


def _date_by(person: Person, now: datetime) -> None:
    """Date events to now that a clock ahead of this one has recorded."""
    for events in person.events.values():
        for place, event in enumerate(events):
            if now < event.occurred_at <= known_until(now):
                events[place] = replace(event, occurred_at=now)


def _rule_of(segment: Segment) -> Rule | Exception | None:
    """Return the rule by which a segment is evaluated all the time, None if it is not; or why it cannot be read."""
    if segment.rule is None:
        return None
    read = parse_rule_version(segment, segment.rule, segment.version)
    if isinstance(read, tuple):
        return read[1]
    return read.rule if segment.parked_at is None else None


def _by_lane(contact_ids: Collection[UUID]) -> dict[int, set[UUID]]:
    lanes: dict[int, set[UUID]] = defaultdict(set)
    for contact_id in contact_ids:
        lanes[lane_of(contact_id)].add(contact_id)
    return lanes


def _waiting(
    workspace_id: UUID, lane: int, contact_ids: Collection[UUID], versions: Collection[UUID]
) -> set[UUID]:
    """Return those of a lane's contacts, survivors all, that have effects or decisions to come yet."""
    now = clock.now()
    merged = Contact.objects.in_workspace(workspace_id).filter(merged_into__in=contact_ids)
    survivor_of = dict(merged.values_list("id", "merged_into_id"))
    everybody = [*contact_ids, *survivor_of]
    open_ids = [
        event_id
        for event_ids in EventBatch.objects.in_workspace(workspace_id)
        .filter(lane=lane)
        .values_list("event_ids", flat=True)
        for event_id in event_ids
    ]
    events = Event.objects.by_ids(workspace_id, open_ids).filter(contact_id__in=everybody)
    due = Timer.objects.in_workspace(workspace_id).filter(
        contact_id__in=everybody, timer_key__in=versions, due_at__lte=now
    )
    found = {*events.values_list("contact_id", flat=True), *due.values_list("contact_id", flat=True)}
    return {survivor_of.get(contact_id, contact_id) for contact_id in found if contact_id is not None}


_UNPUBLISHED = """
SELECT contact_id FROM (
    SELECT contact_id FROM segments_membership WHERE workspace_id = %s AND version = %s
) member FULL JOIN (
    SELECT contact_id FROM segments_membershipperiod WHERE workspace_id = %s AND segment_id = %s AND left_at IS NULL
) stay USING (contact_id)
WHERE (member.contact_id IS NULL OR stay.contact_id IS NULL)
    AND (%s::uuid[] IS NULL OR contact_id = ANY(%s::uuid[]))
"""
