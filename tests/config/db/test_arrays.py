"""Arrays as PostgreSQL reads them are what they were made of."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import DataError, connection
from django.db.models import Q
from hypothesis import given, settings
from hypothesis import strategies as st

from config.db.arrays import array
from config.db.lookups import any_of
from events.models import EffectsLevel
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


def read_back(values, kind):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [array(values)])
        return cursor.fetchone()[0]


@settings(deadline=None)  # how long one takes says nothing on a busy machine
@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)))))
def test_texts(values):
    assert read_back(values, "text") == values


@pytest.mark.parametrize(
    "values",
    [
        [],
        [
            "",
            "NULL",
            "null",
            None,
            "{",
            "}",
            ",",
            '"',
            "\\",
            "\\n",
            "\n",
            "\t\r\b\f",
            "\x01\x7f",
            "\\\\u0041",
            "é𝄞",
        ],
    ],
)
def test_texts_that_mean_something_in_arrays(values):
    assert read_back(values, "text") == values


@pytest.mark.parametrize("names", [[], ["a"], ['a"', "a\\", "NULL", ""], ["{}", "nobody"]])
def test_one_of_some_is_in(names):
    for name in ("a", 'a"', "a\\", "NULL", "", "{}"):
        WorkspaceFactory(name=name)
    workspaces = Workspace.objects.filter(any_of("name", names))
    assert {workspace.name for workspace in workspaces} == set(names) - {"nobody"}
    ids = {workspace.id for workspace in workspaces}
    either = Q(any_of("id", ids)) | Q(name="nobody")
    assert {workspace.id for workspace in Workspace.objects.filter(either)} == ids


def test_no_value_is_cut_to_what_its_column_holds():
    longest = "n" * Workspace._meta.get_field("name").max_length
    WorkspaceFactory(name=longest)
    assert not Workspace.objects.filter(any_of("name", [f"{longest}er"])).exists()
    assert Workspace.objects.filter(any_of("name", [longest])).exists()


def test_no_text_holds_a_nul():
    with pytest.raises((DataError, ValueError)):
        read_back(["a\x00b"], "text")


def test_ids_moments_and_numbers():
    moments = [
        datetime(2026, 3, 1, 12, 30, 1, 250_001, UTC),
        datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Vienna")),
        datetime.min.replace(tzinfo=UTC) + timedelta(days=1),
        None,
    ]
    assert read_back(moments, "timestamptz") == moments
    assert read_back([UUID(int=1), None], "uuid") == [UUID(int=1), None]
    assert read_back([1, None, -5, EffectsLevel.ALL], "int") == [1, None, -5, int(EffectsLevel.ALL)]
    assert read_back([True, False, None], "bool") == [True, False, None]
    assert read_back([0.1, 1e300], "float8") == [0.1, 1e300]
