"""Why a contact has its score, on its page."""

from datetime import timedelta
from decimal import Decimal

import pytest

from contacts.models import Contact
from events.processing.passes import apply_effects
from scoring.admin import contact_score_section
from tests.scoring.factories import a_rule
from tests.scoring.histories import send

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _scores_only(settings):
    settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]


def test_caps_limits_and_decay_are_told_line_by_line(workspace, time):
    a_rule(workspace, "buy", 10, max_score=Decimal(15), decay_points=Decimal(2), decay_days=1)
    a_rule(workspace, "buy", 3, limit_count=1)
    send(workspace, ("ada", time() - timedelta(hours=1), {}), ("ada", None, {}))
    time.pass_(days=2)
    apply_effects(workspace.id)
    ada, bob = Contact.objects.get(), Contact.objects.create(workspace=workspace)
    text = contact_score_section(ada)
    assert "Score: 14" in text
    for told in ("+10", "-5", "+3", "+0", "past the limit", "cap or floor"):
        assert told in text
    assert text.count("-2") >= 2
    Contact.objects.filter(id=bob.id).update(merged_into=ada)
    bob.refresh_from_db()
    assert contact_score_section(bob) == text
