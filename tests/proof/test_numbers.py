"""A number is spelled alike in the first answer and in every later one, by whatever way it came."""

import json
import re
from decimal import Decimal

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from config.db.fields import JSONField
from config.http.json import parse_json
from config.http.rendering import dumps
from config.values.numbers import as_stored
from events.stream.definitions import PropertySpec, create_definition
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

NUMBERS = [
    *("1e16", "1e+16", "-1E16", "10000000000000000.0", "123456789012345678.0", "9.2e18", "1e18"),
    *("9223372036854775807.0", "1e19", "-1e308", "1.7976931348623157e308", "1.5e300"),
    *("-0.0", "0.0", "-0", "0", "0e5", "-0e-5", "1", "1.0", "1.10", "1E2", "100", "-7.50"),
    *("9223372036854775807", "-9223372036854775808", "9007199254740993", "9007199254740993.0"),
    *("0.1", "0.1000000000000000055", "123456789012345678901.5", "1e-7", "5e-324", "2.2250738585072014e-308"),
]


def spelled(content):
    """Return how the number `n` is spelled in an answer."""
    return re.search(rb'"n":([^,}\]]+)', content)[1]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_native_format_answers_as_it_answered_first(db, number):
    api = NativeClient(WorkspaceFactory.create())
    made = api.post("events", f'{{"type": "x", "metadata": {{"n": {number}}}}}')
    first = spelled(made.content)
    assert spelled(api.get("events", type="x").content) == first
    assert spelled(api.get(f"events/{made.json()['id']}").content) == first
    contact = api.post("contacts", f'{{"attributes": {{"n": {number}}}}}')
    first = spelled(contact.content)
    path = f"contacts/{contact.json()['id']}"
    assert spelled(api.get(path).content) == first
    assert spelled(api.get("contacts").content) == first
    assert spelled(api.patch(path, {"firstName": "Ada"}).content) == first
    assert json.loads(first) == json.loads(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_other_formats_do_as_well(db, number):
    workspace = WorkspaceFactory.create()
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}"}
    create_definition(workspace.id, "x", properties=[PropertySpec("n", "number")])

    def post(path, body):
        return Client().post(path, body, content_type="application/json", headers=headers)

    later = NativeClient(workspace)
    bodies = (
        ("/api/partner/events", '{"type": "y", "email": "a@example.com", "metadata": {"n": %s}}', "y"),
        (
            "/v1/events/send",
            '{"eventName": "x", "email": "a@example.com", "eventProperties": {"n": %s}}',
            "x",
        ),
        (
            "/v1/events/send",
            '{"eventName": "x", "email": "a@example.com", "eventProperties": {"n": "%s"}}',
            "x",
        ),
    )
    for path, body, name in bodies:
        made = post(path, body % number)
        if made.status_code == 400:
            assert number.lstrip("-").isdigit()
            continue
        assert spelled(later.get("events", type=name, limit=1).content) == spelled(made.content)
    contact = post("/leadpush/v1/contacts", f'{{"attributes": {{"email": "b@example.com", "n": {number}}}}}')
    shown = Client().get("/leadpush/v1/contacts/b@example.com", headers=headers)
    assert spelled(shown.content) == spelled(contact.content)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1))
def test_what_is_parsed_is_what_the_database_gives_back(number):
    parsed = parse_json(json.dumps(number))
    read = JSONField().from_db_value(_as_the_database_writes(parsed), None, None)
    assert (type(read), dumps(read)) == (type(parsed), dumps(parsed))
    assert parsed == number


def test_a_number_that_is_settled_stays():
    assert [as_stored(as_stored(float(one))) == as_stored(float(one)) for one in NUMBERS] == [True] * len(
        NUMBERS
    )


def _as_the_database_writes(number):
    """Return a number as PostgreSQL's numeric prints it: no exponent, no zero below zero, the scale as it came."""
    decimal = Decimal(repr(number))
    return format(decimal if decimal else abs(decimal), "f")
