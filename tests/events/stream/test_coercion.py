"""The type tables of property values."""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidPropertyValue
from events.models import EventProperty
from events.stream.coercion import accepts, coerce, learned_type, normalised, round_half_up_6

Type = EventProperty.Type

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("type_", "value", "stored"),
    [
        (Type.NUMBER, 5, 5),
        (Type.NUMBER, 129.99, 129.99),
        (Type.NUMBER, "129.99", 129.99),
        (Type.NUMBER, " 42 ", 42),
        (Type.NUMBER, "-1e3", -1000.0),
        (Type.NUMBER, ".5", 0.5),
        (Type.NUMBER, str(2**63 - 1), 2**63 - 1),
        (Type.INTEGER, "7", 7),
        (Type.INTEGER, 7.0, 7),
        (Type.BOOLEAN, True, True),
        (Type.BOOLEAN, "TRUE", True),
        (Type.BOOLEAN, "false", False),
        (Type.BOOLEAN, 1, True),
        (Type.BOOLEAN, 0, False),
        (Type.BOOLEAN, "1", True),
        (Type.BOOLEAN, "0", False),
        (Type.STRING, "", ""),
        (Type.STRING, 5, "5"),
        (Type.STRING, 1.5, "1.5"),
        (Type.STRING, True, "true"),
        (Type.DATE, "2026-01-15", "2026-01-15T00:00:00.000Z"),
        (Type.DATE, "2026-01-15T10:00:00+02:00", "2026-01-15T08:00:00.000Z"),
        (Type.DATE, "2026-01-15T10:00:00", "2026-01-15T10:00:00.000Z"),
        (Type.DATE, "2026-01-15T10:00:00.123456z", "2026-01-15T10:00:00.123Z"),
        (Type.DATETIME, "2026-01-15 10:00", "2026-01-15T10:00:00.000Z"),
        (Type.DATETIME, 1768471200123, "2026-01-15T10:00:00.123Z"),
        (Type.DATETIME, 1768471200123.0, "2026-01-15T10:00:00.123Z"),
        (Type.DATETIME, -504921600000, "1954-01-01T00:00:00.000Z"),
        (Type.DATE, "2026-01-15t10:00:00 +0300", "2026-01-15T07:00:00.000Z"),
        (Type.DATE, "2026-01-14T24:00:00z", "2026-01-15T00:00:00.000Z"),
        (Type.DATE, "20260115T100000Z", "2026-01-15T10:00:00.000Z"),
        (Type.EMAIL, "a@b.example", "a@b.example"),
        (Type.URL, "https://example.com/", "https://example.com/"),
    ],
)
def test_a_declared_property_coerces(type_, value, stored):
    coerced = coerce(value, type_)
    assert coerced == stored
    assert type(coerced) is type(stored)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        *[
            (Type.NUMBER, value)
            for value in (True, "", " ", "abc", "nan", "inf", "1_000", "٣", "0x10", "1e999")
        ],
        *[(Type.NUMBER, value) for value in (None, [], {}, str(2**63), "9" * 5000)],
        (Type.INTEGER, 1.5),
        *[(Type.BOOLEAN, value) for value in ("yes", "", 2, -1, 0.5, None, [True])],
        *[(Type.STRING, value) for value in (None, [], {"a": 1})],
        *[(Type.DATE, value) for value in ("", "tomorrow", "2026-02-30", "2026", True, None, {}, 1e300)],
        *[(Type.DATE, value) for value in ("1731010100000", "0001-01-01T00:00:00+05:00", math.nan, math.inf)],
        (Type.DATETIME, "2026-01-15T10:00:00+25:00"),
        # Seconds, a year, nothing, microseconds: no milliseconds that anybody means.
        *[(Type.DATE, value) for value in (1778247900, 1778247900.5, -1778247900, "1778247900", 2026, 0, 1)],
        *[(Type.DATE, value) for value in (4102444800, 99_999_999_999, 1778247900000000, False)],
        (Type.EMAIL, "nobody"),
        (Type.URL, "ftp://example.com/"),
    ],
)
def test_what_cannot_be_coerced_is_refused(type_, value):
    with pytest.raises(InvalidPropertyValue) as refusal:
        coerce(value, type_, "total")
    assert (refusal.value.property, refusal.value.type) == ("total", type_)


@given(json_values, st.sampled_from(Type))
def test_coercion_gives_what_json_can_hold_or_refuses(value, type_):
    try:
        stored = coerce(value, type_, "p")
    except InvalidPropertyValue:
        return
    json.dumps(stored, allow_nan=False)
    assert coerce(stored, type_) == stored


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_number_survives_its_text(number):
    assert coerce(str(number), Type.NUMBER) == number
    assert coerce(number, Type.STRING) == str(number)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_keeps_its_milliseconds(moment):
    stored = coerce(moment.isoformat(), Type.DATETIME)
    assert datetime.fromisoformat(stored) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, Type.BOOLEAN),
        (1, Type.INTEGER),
        (1.23, Type.NUMBER),
        (1.0, Type.NUMBER),
        ("lorem ipsum", Type.STRING),
        ("2021-09-01", Type.DATE),
        ("2021-09-01T12:41:52Z", Type.DATETIME),
        ("2021-09-01T12:41:52+03:00", Type.DATETIME),
        ("jane@example.com", Type.EMAIL),
        ("https://example.com/", Type.URL),
        ("HTTP://example.com?q=a@b.c", Type.URL),
        ("2021-02-30", Type.STRING),
        ("2021-09-01T25:00:00Z", Type.STRING),
        ("2021-09-01T12:41:52", Type.STRING),
        ("https://", Type.STRING),
        ("a@b", Type.STRING),
        ("5", Type.STRING),
        ("true", Type.STRING),
        ("", Type.STRING),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_a_first_value_gives_its_property_a_type(value, type_):
    assert learned_type(value) == type_


@pytest.mark.parametrize(
    ("value", "type_"),
    [(1, Type.NUMBER), (1.0, Type.INTEGER), ("2021-09-01", Type.STRING), ("a@b.example", Type.STRING)],
)
def test_a_learned_type_admits_what_loses_nothing(value, type_):
    assert accepts(value, type_)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (1.5, Type.INTEGER),
        (1.0000001, Type.INTEGER),
        (2.0**63, Type.INTEGER),
        (2**63, Type.INTEGER),
        (1, Type.BOOLEAN),
        (True, Type.INTEGER),
        (True, Type.NUMBER),
        ("1", Type.NUMBER),
        (1, Type.STRING),
        ("2021-09-01T12:41:52Z", Type.DATE),
        ("2021-09-01", Type.DATETIME),
        ("lorem", Type.EMAIL),
        ("lorem", Type.URL),
        ([], Type.STRING),
        (None, Type.STRING),
    ],
)
def test_a_learned_type_refuses_the_rest(value, type_):
    assert not accepts(value, type_)
    with pytest.raises(InvalidPropertyValue):
        normalised(value, type_, "p")


@given(json_values)
def test_a_value_fits_the_type_that_it_gave(value):
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return
    if isinstance(value, float) and not math.isfinite(value):
        return
    type_ = learned_type(value)
    assert type_ is None or accepts(value, type_)


def test_a_learned_value_is_normalised():
    assert normalised(1.0, Type.INTEGER) == 1
    assert isinstance(normalised(1.0, Type.INTEGER), int)
    assert normalised(0.1234565, Type.NUMBER) == 0.123457


@pytest.mark.parametrize(
    ("number", "rounded"),
    [(0.1234565, 0.123457), (-0.1234565, -0.123457), (1.23, 1.23), (1e300, 1e300), (1e-9, 0.0), (5.0, 5.0)],
)
def test_rounding_is_half_up_on_the_decimal_text(number, rounded):
    assert round_half_up_6(number) == rounded


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_moves_a_number_by_half_a_millionth_at_most(number):
    rounded = round_half_up_6(number)
    assert round_half_up_6(rounded) == rounded
    if abs(number) < 1e6:
        assert abs(Decimal(repr(rounded)) - Decimal(repr(number))) <= Decimal("0.0000005")
