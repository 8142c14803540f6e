"""The first wheel that people see: events earn points, once per event and rule, and points decay."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from contacts.models import Contact
from events.errors import InvalidCondition
from events.services import EffectBatch, EffectEvent, isolate, only_where, park, parked_subjects
from scoring.models import ScoringRule
from scoring.services.awarding import adds_up, award
from scoring.services.folded import SCORE_SUBJECT, refresh
from scoring.services.matching import Judge, read
from scoring.services.rules import EFFECT, scored_names, subject_of


def _is_scored(batch: EffectBatch) -> bool:
    return any(decision.subject == SCORE_SUBJECT for decision in batch.due) or scored_names.speak_of(
        batch.workspace_id, batch.rules_version, batch.names
    )


@only_where(_is_scored)
def apply_scoring_rules(batch: EffectBatch) -> None:
    """Let due scores decay, then apply the active rules to the batch's events.

    A rule that fails is parked with its events; the others go on.
    """
    scored_names.keep(batch.workspace_id, batch.rules_version)
    _decay(batch)
    events: dict[tuple[str, bool], list[EffectEvent]] = defaultdict(list)
    for event in batch.events:
        events[event.name, event.is_repeat].append(event)
    rules: dict[str, list[ScoringRule]] = defaultdict(list)
    if events:
        for rule in ScoringRule.objects.filter(
            workspace_id=batch.workspace_id, active=True, event_name__in={name for name, _ in events}
        ).order_by("id"):
            rules[rule.event_name].append(rule)
    for (name, _), named in events.items():
        if rules[name]:
            _apply(batch, rules[name], named)


def _decay(batch: EffectBatch) -> None:
    """Bring scores down to what they are now. Whoever was due is told of: its score may have changed elsewhere."""
    due = {decision.contact_id for decision in batch.due if decision.subject == SCORE_SUBJECT}
    if not due:
        return
    standing: list[UUID] = list(
        Contact.objects.in_workspace(batch.workspace_id)
        .standing()
        .filter(id__in=due)
        .values_list("id", flat=True)
    )
    refresh(batch.workspace_id, standing, batch.now)
    batch.scores_changed.update(standing)


def _apply(batch: EffectBatch, rules: Sequence[ScoringRule], events: Sequence[EffectEvent]) -> None:
    parked = parked_subjects(batch.workspace_id, EFFECT, [subject_of(rule.id) for rule in rules])

    def set_aside(rule: ScoringRule, error: Exception) -> None:
        park(
            batch.workspace_id,
            effect=EFFECT,
            subject=subject_of(rule.id),
            levels={event.id: event.level for event in events},
            error=error,
        )

    def apply(judges: Sequence[Judge]) -> None:
        batch.scores_changed.update(award(batch.workspace_id, judges, events, batch.now))

    # Alike rules share a statement: those that the event alone decides, those that merely add up.
    alike: dict[tuple[bool, bool], list[Judge]] = defaultdict(list)
    for rule in rules:
        if subject_of(rule.id) in parked:
            set_aside(rule, RuntimeError("waits behind an earlier failure of this rule"))
            continue
        try:
            judge = read(rule, rule.judges_from(is_repeat=events[0].is_repeat))
        except InvalidCondition as error:
            set_aside(rule, error)
        else:
            alike[judge.needs_contact, adds_up(judge)].append(judge)
    for judges in alike.values():
        isolate(judges, apply, lambda judge, error: set_aside(judge.rule, error))
