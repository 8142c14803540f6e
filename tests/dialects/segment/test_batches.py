"""Batches: bodies as they come over the wire, their limits, and what is refused of them."""

import gzip
import json
import logging

import pytest

from config.observability.metrics.process_files import REGISTRY
from contacts.erasure.erasures import erase_person
from events.models import Event, RefusedEvent
from tests.contacts.factories import a_contact

CALL = {"type": "track", "userId": "u1", "event": "Paid"}


def names(workspace):
    return list(
        Event.objects.filter(workspace=workspace, source="api").order_by("id").values_list("name", flat=True)
    )


def refused_count():
    return REGISTRY.get_sample_value("headrace_events_total", {"outcome": "refused"}) or 0


@pytest.mark.parametrize("path", ["batch", "import", "b", "batch/", "/segment/v1/batch"])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/x"]
)
def test_any_media_type(send, workspace, path, is_packed, content_type):
    body = json.dumps({"batch": [CALL]}).encode()
    headers = {"Content-Encoding": "gzip"} if is_packed else {}
    send(path, gzip.compress(body) if is_packed else body, content_type=content_type, headers=headers)
    assert names(workspace) == ["Paid"]


def test_packed_without_saying_so(send, workspace, post):
    send("batch", gzip.compress(json.dumps({"batch": [CALL]}).encode()))
    assert names(workspace) == ["Paid"]
    assert post("batch", b"\x1f\x8bxxx").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "[]",
        "5",
        "{}",
        '{"batch": 5}',
        '{"batch": null}',
        '{"batch": [NaN]}',
        b"\xff",
        '{"batch": [], "sentAt": 1}',
    ],
)
def test_a_malformed_body_is_given_up(post, body):
    answer = post("batch", body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"success", "code", "message"}


def test_all_kinds_in_order(send, workspace):
    batch = [
        {"type": "identify", "userId": "u1", "traits": {"plan": "pro"}},
        {"type": "page", "userId": "u1", "name": "Home"},
        {"type": "screen", "userId": "u1", "name": "Home"},
        {"type": "group", "userId": "u1", "groupId": "g1"},
        {"type": "alias", "userId": "u1", "previousId": "a1"},
        CALL,
    ]
    send("batch", {"batch": batch})
    assert sorted(names(workspace)) == sorted(
        ["identify", "Viewed Home Page", "Viewed Home Screen", "group", "alias", "Paid"]
    )


def test_a_context_of_the_batch_is_every_calls(send, workspace):
    batch = [CALL, {**CALL, "event": "Own", "context": {"ip": "203.0.113.9"}}]
    send("batch", {"batch": batch, "context": {"ip": "203.0.113.5", "locale": "en"}})
    contexts = {event.name: event.context for event in Event.objects.filter(source="api")}
    assert contexts["Paid"] == {"ipAddress": "203.0.113.5", "locale": "en"}
    assert contexts["Own"] == {"ipAddress": "203.0.113.9", "locale": "en"}


def test_what_is_refused_leaves_the_others_alone(send, workspace, caplog, django_capture_on_commit_callbacks):
    erase_person(workspace.id, a_contact(workspace, "gone@example.com"))
    bad = [
        {"type": "track", "event": "Nobody's"},
        {"type": "sing", "userId": "u1"},
        {"userId": "u1"},
        "text",
        None,
        {**CALL, "messageId": "m" * 300},
        {"type": "identify", "userId": "u9", "traits": {"email": "gone@example.com"}},
        {**CALL, "properties": {"text": "x" * 33_000}},
    ]
    before = refused_count()
    with caplog.at_level(logging.WARNING), django_capture_on_commit_callbacks(execute=True):
        send("batch", {"batch": [*bad, CALL]})
    assert names(workspace) == ["Paid"]
    assert refused_count() - before == len(bad)
    (told,) = [record.getMessage() for record in caplog.records if "Refused calls" in record.getMessage()]
    assert "'invalid_call': 5" in told
    assert "'person_erased': 1" in told
    assert "gone@" not in told


def test_what_the_core_refuses_of_a_batch_is_in_the_quarantine(post, send, workspace):
    erase_person(
        workspace.id, a_contact(workspace, "gone@example.com", identifiers=(("external_id", "gone"),))
    )
    assert post("track", {**CALL, "userId": "gone"}).status_code == 400
    assert not RefusedEvent.objects.exists()
    send("batch", {"batch": [{**CALL, "messageId": "m" * 300}, CALL]})
    (kept,) = RefusedEvent.objects.filter(workspace=workspace)
    assert (kept.name, kept.code) == ("Paid", "invalid_message_id")


def test_a_batch_of_refused_calls_is_taken_all_the_same(send, workspace):
    send("batch", {"batch": [{"type": "track"}]})
    send("batch", {"batch": []})
    assert names(workspace) == []


def test_limits_of_size(post, send, workspace):
    large = {"text": "x" * 32_000}
    send("track", {**CALL, "properties": large})
    assert post("track", {**CALL, "properties": {"text": "x" * 33_000}}).status_code == 413
    send("batch", {"batch": [{**CALL, "properties": large}] * 15})
    refused = post("batch", {"batch": [{**CALL, "properties": large}] * 16})
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    packed = gzip.compress(json.dumps({"batch": [{**CALL, "properties": large}] * 16}).encode())
    assert post("batch", packed).status_code == 413
    assert len(names(workspace)) == 16


def test_an_idempotency_key_works(post, workspace):
    headers = {"Idempotency-Key": "k1"}
    first, second = (post("batch", {"batch": [CALL]}, headers=headers) for _ in range(2))
    assert first.json() == second.json() == {"success": True}
    assert second.headers["Idempotent-Replayed"] == "true"
    assert names(workspace) == ["Paid"]
    assert post("batch", {"batch": []}, headers=headers).status_code == 409
