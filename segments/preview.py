"""Preview a rule before it serves: how many contacts it holds for, whom it would move, and why."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, sqrt
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction

from config import clock
from config.db.arrays import array
from config.db.errors import Fault, classify_database_error
from config.db.sql import Statement, sql
from config.db.statements import fetch_all
from contacts.models import Contact
from events.aggregates.registry import built_aggregates
from events.errors import InvalidCondition, UnreadableRule
from events.id_bounds import known_until
from events.rules import AggregateSpec, Rule, compile_rules, explain_contact, find_rule_warnings, parse_rule
from events.rules.compiler import bound_values
from segments.definitions import check_rule
from segments.errors import PreviewTooSlow, SegmentHasNoDraft, SegmentIsStatic, SegmentNotBuilt
from segments.evaluation import merged_ids
from segments.models import Segment

PREVIEW_CONTACTS = 50_000
"""Contacts that are evaluated at most; of more, so many are drawn at random."""
PREVIEW_SECONDS = 5.0
_CHUNK = 2_000
_MARGIN = 1.96
"""Standard deviations to either side that 19 of 20 cases keep within."""


@dataclass(frozen=True, slots=True)
class Preview:
    """How many contacts a rule holds for.

    Exact up to PREVIEW_CONTACTS contacts (50,000) evaluated within PREVIEW_SECONDS (5); else `count` is an estimate
    from `judged` contacts, drawn at random from `total`, right to `margin` in 19 of 20 cases.
    """

    count: int
    total: int
    judged: int
    is_estimate: bool
    margin: int
    samples: list[UUID]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class ImpactSample:
    """A contact that would enter, leave or remain, and why: the tree of explain_contact by the new rule."""

    contact_id: UUID
    tree: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Impact:
    """How many contacts a rule would let in, remove and keep; `is_estimate` and the rest as in Preview."""

    enter: int
    leave: int
    stay: int
    total: int
    judged: int
    is_estimate: bool
    margin: int
    entering: list[ImpactSample]
    leaving: list[ImpactSample]
    staying: list[ImpactSample]
    warnings: list[str]


def preview_rule(workspace_id: UUID, raw: object, *, samples: int = 10) -> Preview:
    """Try out a rule that is not saved. Raises InvalidCondition, PreviewTooSlow."""
    rule = check_rule(workspace_id, raw)
    trial = _try_out(workspace_id, rule, None)
    fitting = trial.fitting
    return Preview(
        count=trial.scaled(len(fitting)),
        total=trial.total,
        judged=trial.judged,
        is_estimate=trial.judged < trial.total,
        margin=trial.margin(len(fitting)),
        samples=sorted(fitting)[:samples],
        warnings=find_rule_warnings(workspace_id, rule),
    )


def impact_of(workspace_id: UUID, raw: object, segment: Segment, *, samples: int = 5) -> Impact:
    """Compare a rule that is not saved with what serves. Raises InvalidCondition, PreviewTooSlow, SegmentIsStatic."""
    if segment.is_static:
        raise SegmentIsStatic
    rule = check_rule(workspace_id, raw, segment)
    trial = _try_out(workspace_id, rule, segment.version)
    groups = [trial.fitting - trial.members, trial.members - trial.fitting, trial.fitting & trial.members]
    explain = _Explaining(workspace_id, rule, raw, clock.now(), built_aggregates(workspace_id))
    entering, leaving, staying = (
        [explain.sample(contact_id) for contact_id in sorted(group)[:samples]] for group in groups
    )
    enter, leave, stay = (trial.scaled(len(group)) for group in groups)
    return Impact(
        enter=enter,
        leave=leave,
        stay=stay,
        total=trial.total,
        judged=trial.judged,
        is_estimate=trial.judged < trial.total,
        margin=max(trial.margin(len(group)) for group in groups),
        entering=entering,
        leaving=leaving,
        staying=staying,
        warnings=find_rule_warnings(workspace_id, rule),
    )


def impact_of_draft(workspace_id: UUID, segment: Segment, *, samples: int = 5) -> Impact:
    """Compare the built draft with what serves: always exact.

    Raises SegmentHasNoDraft, SegmentNotBuilt, UnreadableRule.
    """
    if not segment.has_draft:
        raise SegmentHasNoDraft
    if segment.build != Segment.Build.DONE:
        raise SegmentNotBuilt
    try:
        rule = parse_rule(segment.draft_rule)
    except InvalidCondition as error:
        raise UnreadableRule(error.of_stored) from error
    explain = _Explaining(workspace_id, rule, segment.draft_rule, clock.now(), built_aggregates(workspace_id))
    versions = {"workspace": workspace_id, "serving": segment.version, "draft": segment.draft_version}
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_BOTH, versions)
        enter, leave, stay = cursor.fetchone()
        found = []
        for condition in _SIDES:
            cursor.execute(_SAMPLE_BOTH.format(condition=condition), {**versions, "limit": samples})
            found.append([contact_id for (contact_id,) in cursor.fetchall()])
    total = Contact.objects.in_workspace(workspace_id).canonical().count()
    entering, leaving, staying = ([explain.sample(contact_id) for contact_id in group] for group in found)
    return Impact(
        enter=enter,
        leave=leave,
        stay=stay,
        total=total,
        judged=total,
        is_estimate=False,
        margin=0,
        entering=entering,
        leaving=leaving,
        staying=staying,
        warnings=find_rule_warnings(workspace_id, rule),
    )


@dataclass(frozen=True, slots=True)
class _Explaining:
    workspace_id: UUID
    rule: Rule
    raw: Any
    now: datetime
    built: set[AggregateSpec]

    def sample(self, contact_id: UUID) -> ImpactSample:
        tree = explain_contact(
            self.workspace_id,
            self.rule,
            self.raw,
            contact_id,
            self.now,
            self.built,
            until=known_until(self.now),
        )
        return ImpactSample(contact_id, tree)


@dataclass(slots=True)
class _Trial:
    """A rule evaluated for contacts drawn at random: whom it holds for, and who of them is a member now."""

    total: int
    judged: int
    fitting: set[UUID]
    members: set[UUID]

    def scaled(self, count: int) -> int:
        """Scale a count among the evaluated contacts up to all."""
        return round(count * self.total / self.judged) if self.judged else 0

    def margin(self, count: int) -> int:
        """Return how far off such a number may be."""
        if self.judged in (0, self.total):
            return 0
        share = count / self.judged
        # Seen once or never says little: at least as far off as one more would be.
        deviation = sqrt(max(share * (1 - share), 1 / self.judged) / self.judged)
        return ceil(_MARGIN * deviation * sqrt(1 - self.judged / self.total) * self.total)


def _try_out(workspace_id: UUID, rule: Rule, version: UUID | None) -> _Trial:
    """Evaluate as many contacts as the time allows, in random order."""
    started = monotonic()
    total, drawn = _draw(workspace_id)
    trial = _Trial(total, 0, set(), set())
    now = clock.now()
    until = known_until(now)
    compiled = compile_rules([rule], built=built_aggregates(workspace_id))
    statement = sql(_TRY, joins=compiled.joins, fits=compiled.matches[0], version=version).render()
    bound = {**bound_values(workspace_id, now, until), "now": now, "until": until}
    for chunk in _chunks(drawn):
        left = PREVIEW_SECONDS - (monotonic() - started)
        merged = merged_ids(workspace_id, chunk)
        bound |= {"contact_ids": array(chunk), "ids": array(merged.get(contact_id) for contact_id in chunk)}
        rows = _within(left, statement, bound) if left > 0 else None
        if rows is None:
            break
        trial.judged += len(chunk)
        trial.fitting.update(contact_id for contact_id, fits, _ in rows if fits)
        trial.members.update(contact_id for contact_id, _, is_in in rows if is_in)
    if total and not trial.judged:
        raise PreviewTooSlow
    return trial


def _within(
    seconds: float, statement: Statement, bound: Mapping[str, Any]
) -> list[tuple[UUID, bool, bool]] | None:
    """Return the rows of a statement, None if it takes longer."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {max(int(seconds * 1000), 1)}")
            rows: list[tuple[UUID, bool, bool]] = fetch_all(statement, bound)
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
            return rows
    except OperationalError as error:
        if classify_database_error(error) is not Fault.STATEMENT_TIMEOUT:
            raise
        return None


def _draw(workspace_id: UUID) -> tuple[int, list[UUID]]:
    """Return how many contacts there are, and some of them in random order: all, if they are not too many."""
    total = Contact.objects.in_workspace(workspace_id).canonical().count()
    # More than needed, so that as good as never too few are drawn; then exactly as many.
    share = min(1.0, PREVIEW_CONTACTS * 1.05 / total + 0.001) if total > PREVIEW_CONTACTS else 1.0
    rows = fetch_all(
        "SELECT id FROM contacts_contact WHERE workspace_id = %s AND merged_into_id IS NULL"
        " AND random() < %s",
        [workspace_id, share],
    )
    ids = [contact_id for (contact_id,) in rows]
    if share == 1.0:
        total = len(ids)
    return total, random.sample(ids, min(len(ids), PREVIEW_CONTACTS))


def _chunks(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


_TRY = """
SELECT contact_id, fits, is_in FROM (
    SELECT b.contact_id, {fits} AS fits, {version:uuid} IS NOT NULL AND EXISTS (
        SELECT 1 FROM segments_membership m
        WHERE m.workspace_id = {workspace_id:uuid} AND m.version = {version:uuid} AND m.contact_id = b.contact_id
    ) AS is_in
    FROM (
        SELECT w.contact_id, COALESCE(w.ids::uuid[], ARRAY[w.contact_id]) AS ids, {now:timestamptz} AS as_of,
            {until:timestamptz} AS until, NULL::numeric AS score
        FROM unnest({contact_ids:uuid[]}, {ids:text[]}) AS w (contact_id, ids) OFFSET 0
    ) b
    {joins}
) judged WHERE fits OR is_in
"""
_BOTH = """
(SELECT contact_id FROM segments_membership WHERE workspace_id = %(workspace)s AND version = %(serving)s) s
FULL JOIN
(SELECT contact_id FROM segments_membership WHERE workspace_id = %(workspace)s AND version = %(draft)s) d
USING (contact_id)
"""
_COUNT_BOTH = f"""
SELECT count(*) FILTER (WHERE s.contact_id IS NULL), count(*) FILTER (WHERE d.contact_id IS NULL),
    count(*) FILTER (WHERE s.contact_id = d.contact_id)
FROM {_BOTH}
"""
_SIDES = ("s.contact_id IS NULL", "d.contact_id IS NULL", "s.contact_id = d.contact_id")
_SAMPLE_BOTH = f"SELECT contact_id FROM {_BOTH} WHERE {{condition}} LIMIT %(limit)s"
