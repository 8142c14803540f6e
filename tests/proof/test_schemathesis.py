"""The OpenAPI document, and what a fuzzer makes of it: every answer is as documented, and none is a 500."""

import json
import random
import re
from contextlib import suppress
from io import StringIO
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.test import Client
from drf_spectacular import validation
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from config import wsgi
from config.db.connection_slots import ConnectionCheckout
from segments.build import run_build
from segments.definitions import create_segment
from tests.campaigns.rows import a_campaign_row, a_form_row, a_message, a_template_row, an_enrollment
from tests.contacts.factories import a_contact
from tests.scale import IS_WHOLE
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

EXAMPLES = 5 if IS_WHOLE else 2
# Each wire format stands at the root, too, with the same views.
TWICE = ("/v1/", "/v3/", "/v4/", "/v5/", "/omnisend/api/", "/api/partner/", "/leadpush/v1/workspaces/")
AS_DOCUMENTED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def _one_connection(monkeypatch):
    """Let requests have the test's connection, and keep its transaction open between them."""
    monkeypatch.setattr(wsgi._pool, "begin", ConnectionCheckout)
    monkeypatch.setattr(wsgi._pool, "end", lambda: None)
    ends = (request_started, request_finished)
    for signal in ends:
        signal.disconnect(close_old_connections)
    yield
    for signal in ends:
        signal.connect(close_old_connections)


def test_the_document_is_valid_and_free_of_warnings():
    written = StringIO()
    call_command("spectacular", "--fail-on-warn", "--format", "openapi-json", stdout=written)
    # What `--validate` does with the same specification takes it seconds.
    specification = Path(validation.__file__).with_name("openapi_3_1_schema.json").read_text()
    jsonschema_rs.validate(json.loads(specification), json.loads(written.getvalue()))


def test_the_document_is_open_and_names_every_way_in():
    answer = Client().get("/api/openapi")

    document = answer.json()
    assert answer.headers["Content-Type"].startswith("application/")
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) >= {"bearer", "session", "oauth2"}
    assert {path.split("/")[1] for path in document["paths"]} >= {
        "api",
        "v1",
        "v4",
        "leadpush",
        "autosend",
        "suresend",
        "omnisend",
        "segment",
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["responses"], (method, path)


def test_the_page_over_it_needs_no_other_site():
    page = Client().get("/docs")

    assert page.status_code == 200
    text = page.content.decode()
    assert "/api/openapi" in text
    assert "https://" not in text
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        answer = Client().get(asset)
        answer.close()
        assert answer.status_code == 200, asset
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in text


@pytest.mark.usefixtures("_one_connection")
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_makes_an_error_of_ours(mode):
    workspace = WorkspaceFactory()
    contact = a_contact(workspace, "jane@example.test")
    segment = create_segment(workspace.id, name="Buyers", raw={"type": "event", "eventType": "buy"})
    run_build(workspace.id, segment.id)
    campaign = a_campaign_row(workspace)
    message = a_message(contact, campaign)
    own = {
        "workspace_id": workspace.id,
        "workspace": workspace.id,
        "contact_id": contact.id,
        "contact": contact.id,
        "segment_id": segment.id,
        "campaign_id": campaign.id,
        "run_id": an_enrollment(campaign, contact).id,
        "message_id": message.id,
        "template_id": a_template_row(workspace).id,
        "form_id": a_form_row(workspace).id,
        "channel": "email",
    }
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}"}
    schema = schemathesis.openapi.from_wsgi("/api/openapi", wsgi.application)
    statuses = []
    modes = list(GenerationMode)
    # Another one in each run, and the same for each mode of a run, whose tests begin with one seed.
    turn = random.randrange(len(modes))
    for place, result in enumerate(schema.get_all_operations(), turn + modes.index(mode)):
        operation = result.ok()
        if operation.path.startswith(TWICE) or (not IS_WHOLE and place % len(modes)):
            continue
        # What one operation deletes is there for the next.
        with transaction.atomic():
            statuses += _fuzz(operation, mode, headers, own)
            transaction.set_rollback(True)
    assert len(statuses) > 50
    # The key opens the workspace; else all that is secured would answer 401, as documented.
    assert statuses.count(401) < len(statuses) / 2


def _fuzz(operation, mode, headers, own):
    """Send some requests of one operation, half of them to what the key opens; return the answers' statuses."""
    statuses = []

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        if len(statuses) % 2 == 0:
            mine = {name: str(own[name]) for name in case.path_parameters if name in own}
            case.path_parameters.update(mine)
        answer = case.call(headers=headers)
        assert answer.status_code < 500, case.as_curl_command()
        case.validate_response(answer, checks=AS_DOCUMENTED)
        statuses.append(answer.status_code)

    with suppress(Unsatisfiable):  # what takes nothing cannot be sent anything wrong
        send()
    return statuses
