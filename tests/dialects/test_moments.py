"""Every format reads the same texts as the same moments."""

import json

import pytest
from django.test import Client

from config.values.datetimes import parse_timestamp
from events.models import Event
from tests.workspaces.factories import WorkspaceFactory, a_key


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-15t10:00:00z",
        "2026-01-15 13:00:00+0300",
        "2026-01-15T09:59:60Z",
        "2026-01-15T10:00:00.1234567Z",
    ],
)
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/partner/events", {"type": "x", "email": "a@example.com"}, "occurredAt"),
        ("/v4/track", {"eventName": "x", "email": "a@example.com"}, "eventTime"),
    ],
)
def test_a_moment_is_read_in_any_spelling(db, path, body, field, text):
    secret = a_key(WorkspaceFactory.create()).secret
    answer = Client().post(
        path,
        json.dumps({**body, field: text}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert answer.status_code < 300
    assert Event.objects.get(source="api").occurred_at == parse_timestamp(text)
    for wrong in ("2026-01-15", "2026-01-15T10:00:00", "2026-02-30T00:00:00Z", 1768471200):
        refused = Client().post(
            path,
            json.dumps({**body, field: wrong}),
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert refused.status_code in (400, 422)
        assert field in json.dumps(refused.json())
