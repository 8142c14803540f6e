"""Every line of a score, page by page, however many there are."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pytest

from config.ids import uuid7
from scoring.calculation import Decay
from scoring.explanation import UnknownLine, explain_score
from scoring.models import ScoreEntry
from tests.contacts.factories import a_contact
from tests.scoring.factories import a_rule

END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


@pytest.fixture
def ada(workspace):
    return a_contact(workspace, "ada@example.test")


def earn(rule, contact, at):
    ScoreEntry.objects.create(
        workspace_id=rule.workspace_id,
        contact=contact,
        rule=rule,
        event_id=uuid7(at),
        points=rule.points,
        occurred_at=at,
    )


def pages(contact, at, size):
    """Return all lines, read in pages of a size."""
    lines, before = [], None
    while True:
        page = explain_score(contact.workspace_id, contact.id, at=at, before=before, limit=size)
        lines += page.lines
        if not page.has_more:
            return page.score, lines
        before = page.lines[-1].id


@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_are_the_whole_whatever_decays_at_the_same_moment(workspace, ada, time, size):
    bounds: list[dict[str, Any]] = [
        {"max_score": Decimal("25.5")},
        {"limit_count": 1, "limit_period": "week"},
        {},
    ]
    rules = [
        a_rule(workspace, "buy", 10, decay_points=Decimal("1.5"), decay_days=1, **more) for more in bounds
    ]
    for rule in rules:
        for days in (0, 1, 2, 9):
            earn(rule, ada, time() + timedelta(days=days))
    for hours in (24, 120, 228, 960):
        at = time() + timedelta(hours=hours)
        score, whole = pages(ada, at, 1_000)
        assert sum(line.points for line in whole) == score == whole[0].score
        assert len({line.id for line in whole}) == len(whole)
        assert pages(ada, at, size) == (score, whole)


def test_only_the_decay_lines_of_the_page_are_made(workspace, ada, time, monkeypatch):
    rule = a_rule(workspace, "buy", 999_999_999, decay_points=Decimal("0.000001"), decay_days=1)
    earn(rule, ada, time())
    counted = Mock(side_effect=Decay.line)
    monkeypatch.setattr(Decay, "line", lambda decay, step: counted(decay, step))
    page = explain_score(workspace.id, ada.id, at=END_OF_TIME, limit=3)
    days = (END_OF_TIME - time()).days
    assert page.score == 999_999_999 - days * Decimal("0.000001")
    assert [line.id.rpartition(":")[2] for line in page.lines] == [str(days - n) for n in range(3)]
    name = page.lines[0].id.rpartition(":")[0]
    older = explain_score(workspace.id, ada.id, at=END_OF_TIME, before=f"{name}:2", limit=3)
    assert [line.kind for line in older.lines] == ["decay", "award"]
    assert [line.score for line in older.lines] == [Decimal("999999998.999999"), 999_999_999]
    assert counted.call_count < 20
    for step in (0, -1, days + 1, "٣", "02", "9" * 5_000):
        with pytest.raises(UnknownLine):
            explain_score(workspace.id, ada.id, at=END_OF_TIME, before=f"{name}:{step}")
