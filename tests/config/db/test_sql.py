"""Fragments of SQL keep their parameters where they belong, whatever they are put together with."""

from dataclasses import dataclass

import pytest

from config.db.sql import Deferred, Sql, join, sql
from config.db.statements import fetch_one


def test_parameters_are_in_the_order_of_the_text():
    inner = sql("b = {:int}", 2)
    whole = sql("a = {:int} AND {} AND c = {:int}", 1, inner, 3).render()
    assert whole.text == "a = %s::int AND b = %s::int AND c = %s::int"
    assert whole.parameters({}) == [1, 2, 3]


def test_a_fragment_is_put_wherever_it_is_wanted():
    condition = sql("x = {:text}", "a")
    twice = sql("CASE WHEN {0} THEN {1:int} ELSE {0} END", condition, 1).render()
    assert twice.text == "CASE WHEN x = %s::text THEN %s::int ELSE x = %s::text END"
    assert twice.parameters({}) == ["a", 1, "a"]


def test_what_is_not_given_is_bound_at_execution():
    statement = sql("w = {workspace:uuid} AND n = {:int}", 1).render()
    assert statement.parameters({"workspace": "x"}) == ["x", 1]
    with pytest.raises(KeyError):
        statement.parameters({})
    assert sql("w = {workspace:uuid}").bind(workspace="x") == sql("w = {:uuid}", "x")


def test_a_deferred_value_is_made_of_what_is_bound():
    @dataclass(frozen=True)
    class Next(Deferred):
        def resolve(self, bound):
            return bound["number"] + 1

    assert sql("{:int}", Next()).render().parameters({"number": 1}) == [2]


def test_equal_sql_is_equal_however_it_was_put_together():
    pieces = join("", [sql("a"), Sql(), sql(" = "), sql("{:int}", 1), sql("")])
    assert pieces == sql("a = {:int}", 1)
    assert hash(sql("{:int[]}", [1, 2])) == hash(sql("{:int[]}", [1, 2]))


def test_a_shape_is_all_but_the_values():
    assert sql("a = {:int}", 1).shape == sql("a = {:int}", 2).shape
    assert sql("a = {:int}", 1).shape != sql("a = {:numeric}", 1).shape
    assert sql("a = {:int}", 1).shape != sql("b = {:int}", 1).shape


@pytest.mark.parametrize(
    "given",
    [
        lambda: sql("a = {}", "1; DROP TABLE x"),
        lambda: sql("a", 1),
        lambda: sql("a = {value:int}", value=1, other=2),
    ],
    ids=["a text where SQL is wanted", "more than there are fields", "a name that is not there"],
)
def test_what_does_not_fit_is_refused(given):
    with pytest.raises(TypeError):
        given()


@pytest.mark.django_db
def test_the_driver_takes_it():
    value = "100 % of 'it' {braces}"
    statement = sql("SELECT {:text} LIKE '100 %', {texts:text[]}, '{{}}'::int[], {:int[]}", value, (1, 2))
    assert fetch_one(statement, {"texts": [value]}) == (True, [value], [], [1, 2])
