"""One reader of moments, in Python and in the database."""

import json
from datetime import UTC, datetime

import pytest
from django.db import connection

from config.values.datetimes import has_timezone, is_timestamp, parse_timestamp

TEN = datetime(2026, 1, 15, 10, tzinfo=UTC)
READ = [
    ("2026-01-15T10:00:00Z", TEN),
    ("2026-01-15T10:00:00z", TEN),
    ("2026-01-15t10:00:00z", TEN),
    ("2026-01-15 10:00:00Z", TEN),
    ("2026-01-15 10:00", TEN),
    ("2026-01-15T13:00:00+03:00", TEN),
    ("2026-01-15T13:00:00+0300", TEN),
    ("2026-01-15T13:00:00+03", TEN),
    ("2026-01-15 13:00:00 +0300", TEN),
    ("2026-01-15t04:30:00-05:30", TEN),
    ("2026-01-15T10:00:00-00:00", TEN),
    ("2026-01-15T10:00:00.1Z", TEN.replace(microsecond=100_000)),
    ("2026-01-15T10:00:00,25Z", TEN.replace(microsecond=250_000)),
    ("2026-01-15T10:00:00.123456Z", TEN.replace(microsecond=123_456)),
    ("2026-01-15T10:00:00.999999999999999999Z", TEN.replace(microsecond=999_999)),
    ("2026-01-15T09:59:60Z", TEN),
    ("2026-01-15T09:59:60.5z", TEN.replace(microsecond=500_000)),
    ("2026-01-14T24:00:00Z", datetime(2026, 1, 15, tzinfo=UTC)),
    ("2026-01-14 24:00", datetime(2026, 1, 15, tzinfo=UTC)),
    ("2026-01-15", datetime(2026, 1, 15, tzinfo=UTC)),
    ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
]
UNREAD = [
    *("", "now", "tomorrow", "2026", "2026-01", "1731010100000", "1768471200", "2026-02-30", "2026-13-01"),
    *("2026-01-15T10", "2026-01-15T10:00:00+25:00", "2026-01-15T10:00:00+16:00", "2026-01-15T10:00:00+03:60"),
    *(
        "2026-01-15T24:00:01Z",
        "2026-01-15T25:00:00Z",
        "2026-01-15T10:60:00Z",
        "2026-01-15T10:00:61Z",
        "0000-01-01",
    ),
    *("2026-01-15T10:00:00.Z", "2026-01-15T10:00:00ZZ", "2026-01-15Z", "2026-01-15x10:00:00Z", " 2026-01-15"),
    *("2026-01-15T10:00:00." + "9" * 100 + "Z", "٢٠٢٦-01-15", "0001-01-01T00:00:00+05:00"),
]


@pytest.mark.parametrize(("text", "moment"), READ)
def test_a_moment_is_read(text, moment):
    assert parse_timestamp(text) == moment
    assert is_timestamp(text)


@pytest.mark.parametrize("value", [*UNREAD, None, 5, 1768471200, True, ["2026-01-15"]])
def test_what_spells_no_moment_is_none(value):
    assert parse_timestamp(value) is None
    assert not is_timestamp(value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [("20260115T100000Z", TEN), ("20260115", TEN.replace(hour=0)), ("2026-W03-4", TEN.replace(hour=0))],
)
def test_the_basic_form_is_read_but_spells_no_moment_in_a_value(text, moment):
    assert parse_timestamp(text) == moment
    assert not is_timestamp(text)


def test_a_zone_is_told():
    assert [has_timezone(text) for text, _ in READ[:6]] == [True, True, True, True, False, True]


def test_the_database_reads_the_same(db):
    texts = [text for text, _ in READ] + [text for text in UNREAD if text != "0001-01-01T00:00:00+05:00"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT events_moment(v::jsonb) FROM unnest(%s::text[]) WITH ORDINALITY u (v, n) ORDER BY n",
            [[json.dumps(text) for text in texts]],
        )
        found = [row[0] for row in cursor.fetchall()]
    assert found == [parse_timestamp(text) for text in texts]
