"""Scoring's effect, called by `events.processing.passes`: award points for new events, and let points decay."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from contacts.models import Contact
from events.errors import InvalidCondition
from events.processing.bisection import bisect_failures
from events.processing.parked_effects import park, parked_keys
from events.processing.passes import EffectBatch, EffectEvent, runs_only_when
from scoring.ledger import adds_up, award
from scoring.models import ScoringRule
from scoring.rule_matching import RuleEvaluator, read
from scoring.rule_scores import SCORE_TIMER_KEY, refresh
from scoring.rules import EFFECT, parked_key_of, scored_names


def _is_scored(batch: EffectBatch) -> bool:
    return any(timer.timer_key == SCORE_TIMER_KEY for timer in batch.due) or scored_names.may_include(
        batch.workspace_id, batch.rules_version, batch.names
    )


@runs_only_when(_is_scored)
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
        for rule in (
            ScoringRule.objects.in_workspace(batch.workspace_id)
            .filter(active=True, event_name__in={name for name, _ in events})
            .order_by("id")
        ):
            rules[rule.event_name].append(rule)
    for (name, _), named in events.items():
        if rules[name]:
            _apply(batch, rules[name], named)


def _decay(batch: EffectBatch) -> None:
    """Apply due decay. All due contacts count as changed: their score may have been changed elsewhere, too."""
    due = {timer.contact_id for timer in batch.due if timer.timer_key == SCORE_TIMER_KEY}
    if not due:
        return
    standing: list[UUID] = list(
        Contact.objects.in_workspace(batch.workspace_id)
        .canonical()
        .filter(id__in=due)
        .values_list("id", flat=True)
    )
    refresh(batch.workspace_id, standing, batch.now)
    batch.scores_changed.update(standing)


def _apply(batch: EffectBatch, rules: Sequence[ScoringRule], events: Sequence[EffectEvent]) -> None:
    parked = parked_keys(batch.workspace_id, EFFECT, [parked_key_of(rule.id) for rule in rules])

    def park_rule(rule: ScoringRule, error: Exception) -> None:
        park(
            batch.workspace_id,
            effect=EFFECT,
            subject=parked_key_of(rule.id),
            levels={event.id: event.level for event in events},
            error=error,
        )

    def apply(evaluators: Sequence[RuleEvaluator]) -> None:
        batch.scores_changed.update(award(batch.workspace_id, evaluators, events, batch.now))

    # Rules of one kind share a statement: those that the event alone decides, those that merely add up.
    by_kind: dict[tuple[bool, bool], list[RuleEvaluator]] = defaultdict(list)
    for rule in rules:
        if parked_key_of(rule.id) in parked:
            park_rule(rule, RuntimeError("waits behind an earlier failure of this rule"))
            continue
        try:
            evaluator = read(rule, rule.evaluates_from(is_repeat=events[0].is_repeat))
        except InvalidCondition as error:
            park_rule(rule, error)
        else:
            by_kind[evaluator.needs_contact, adds_up(evaluator)].append(evaluator)
    for evaluators in by_kind.values():
        bisect_failures(evaluators, apply, lambda evaluator, error: park_rule(evaluator.rule, error))
