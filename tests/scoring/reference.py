"""Scores by their definition, in plain Python: day by day, award by award, with no state in between."""

from collections import defaultdict
from datetime import UTC, timedelta
from decimal import Decimal


def period_of(period, moment):
    moment = moment.astimezone(UTC)
    if period == "week":
        monday = moment.date() - timedelta(days=moment.weekday())
        return monday.isoformat()
    lengths = {"day": 10, "month": 7, "year": 4, "ever": 0}
    return moment.isoformat()[: lengths[period]]


def counting(rule, awards):
    """Return the awards, (moment, id, points), that the limit lets count, in order."""
    taken = defaultdict(int)
    kept = []
    for award in sorted(awards):
        period = period_of(rule.limit_period, award[0])
        taken[period] += 1
        if rule.limit_count is None or taken[period] <= rule.limit_count:
            kept.append(award)
    return kept


def value_of(rule, awards, moment):
    """Return what awards up to a moment come to at that moment."""
    value, last = Decimal(0), None
    for at, _, points in [award for award in counting(rule, awards) if award[0] <= moment]:
        value = decayed(rule, value, last, at) + points
        if rule.max_score is not None:
            value = min(value, rule.max_score)
        if rule.min_score is not None:
            value = max(value, rule.min_score)
        last = at
    return decayed(rule, value, last, moment)


def decayed(rule, value, last, moment):
    if last is None or not rule.decay_points or not rule.decay_days:
        return value
    bound = rule.min_score if rule.min_score is not None else Decimal(0)
    step = last + timedelta(days=rule.decay_days)
    while step <= moment and value > bound:
        value = max(value - rule.decay_points, bound)
        step += timedelta(days=rule.decay_days)
    return value
