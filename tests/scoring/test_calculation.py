from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.calculation import Award, Terms, calculate, next_decay
from scoring.models import ScoringRule
from tests.scoring.reference import value_of

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
points = st.decimals(-20, 20, places=2)
moments = st.integers(0, 400 * 24).map(lambda hours: START + timedelta(hours=hours))


@st.composite
def rules(draw):
    """Return a rule of any terms."""
    lowest, highest = sorted(draw(st.tuples(points, points)))
    decays = draw(st.booleans())
    return ScoringRule(
        id=UUID(int=1),
        decay_points=draw(st.decimals(0, 10, places=2)) if decays else None,
        decay_days=draw(st.integers(1, 40)) if decays else None,
        min_score=draw(st.sampled_from([None, lowest])),
        max_score=draw(st.sampled_from([None, highest])),
        limit_count=draw(st.sampled_from([None, 1, 2, 3])),
        limit_period=draw(st.sampled_from(ScoringRule.Period.values)),
    )


awards = st.lists(
    st.builds(Award, moments, st.integers(1, 10**6).map(lambda n: UUID(int=n)), points),
    max_size=12,
    unique_by=lambda award: award.event_id,
)


def calculated(rule, given_awards, until, opening=None):
    return calculate(rule.terms, sorted(given_awards), until, opening)


@settings(deadline=None)
@given(rules(), awards, moments)
def test_the_calculation_equals_the_definition(rule, given_awards, moment):
    known = [award for award in given_awards if award.occurred_at <= moment]
    outcome = calculated(rule, known, moment)
    assert outcome.value == value_of(rule, known, moment)
    assert sum((line.points for line in outcome.lines()), Decimal(0)) == outcome.value


@settings(deadline=None)
@given(rules(), awards)
def test_lines_tell_the_value_after_each_of_them(rule, given_awards):
    end = START + 500 * DAY
    lines = list(calculated(rule, given_awards, end).lines())
    running = Decimal(0)
    for place, line in enumerate(lines):
        running += line.points
        assert line.value == running
        if place + 1 == len(lines) or lines[place + 1].at > line.at:
            assert value_of(rule, given_awards, line.at) == running
    assert [line.at for line in lines] == sorted(line.at for line in lines)


@settings(deadline=None)
@given(rules(), awards, st.integers(0, 12))
def test_a_calculation_goes_on_from_a_stored_state(rule, given_awards, place):
    end = START + 500 * DAY
    ordered = sorted(given_awards)
    first = calculated(rule, ordered[:place], START)
    assert calculated(rule, ordered[place:], end, first.state).value == calculated(rule, ordered, end).value


@settings(deadline=None)
@given(rules(), awards, moments)
def test_the_next_decay_is_the_next_change(rule, given_awards, moment):
    known = [award for award in given_awards if award.occurred_at <= moment]
    outcome = calculated(rule, known, moment)
    if outcome.state is None:
        return
    after = next_decay(rule.terms, outcome.state, moment)
    if after is None:
        assert value_of(rule, known, moment + 2000 * DAY) == outcome.value
    else:
        assert value_of(rule, known, after - timedelta(microseconds=1)) == outcome.value
        assert value_of(rule, known, after) < outcome.value


def test_a_clamp_is_a_line_of_its_own_and_an_award_past_the_limit_has_no_points():
    terms = Terms(highest=Decimal(15), limit_count=2, limit_period="day")
    given_awards = [Award(START + n * DAY / 10, UUID(int=n + 1), Decimal(10)) for n in range(3)]
    lines = list(calculate(terms, given_awards, START + DAY).lines())
    assert [(line.kind, line.points, line.value) for line in lines] == [
        ("award", 10, 10),
        ("award", 10, 20),
        ("clamp", -5, 15),
        ("superseded", 0, 15),
    ]


def test_decay_ends_at_the_floor_and_does_not_lift_what_is_below():
    terms = Terms(decay_points=Decimal(4), decay_every=2 * DAY, lowest=Decimal(-3))
    up = [Award(START, UUID(int=1), Decimal(6))]
    assert calculate(terms, up, START + 2 * DAY - timedelta(microseconds=1)).value == 6
    assert [calculate(terms, up, START + n * DAY).value for n in (2, 4, 6, 600)] == [2, -2, -3, -3]
    free = Terms(decay_points=Decimal(4), decay_every=DAY)
    assert calculate(free, [Award(START, UUID(int=1), Decimal(-6))], START + 9 * DAY).value == -6
