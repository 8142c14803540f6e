"""A path that no route knows is refused in the format of its API, whatever is in it."""

from itertools import product

import pytest
from django.test import Client

TAILS = ["x", "x/y", "%0A", "x%0D%0Ay", "%00", "%FF", "track%0A", "events%0A"]


@pytest.mark.parametrize(
    ("base", "key"),
    [
        ("/autosend/v1/", "success"),
        ("/suresend/api/partner/", "error"),
        ("/api/partner/", "error"),
        ("/omnisend/v4/", "title"),
        ("/v4/", "title"),
        ("/omnisend/v3/no/", "error"),
        ("/v3/no/", "error"),
        ("/omnisend/v5/no/", "title"),
        ("/v5/no/", "title"),
        ("/omnisend/api/no/", "title"),
        ("/segment/", "code"),
        ("/segment/v1/no/", "code"),
        ("/leadpush/v1/no/", "message"),
        ("/v1/workspaces/", "message"),
        ("/api/", "error"),
    ],
)
def test_the_format_is_its_own(db, base, key):
    client, wrong = Client(), {}
    for tail, method in product(TAILS, ["GET", "POST", "DELETE"]):
        answer = client.generic(method, base + tail, b"{}", content_type="application/json")
        is_json = "json" in answer.headers.get("Content-Type", "")
        if answer.status_code != 404 or not is_json or key not in answer.json():
            wrong[method, base + tail] = (answer.status_code, answer.content[:200])
    assert not wrong
