"""Compressed bodies: inflated on every route, within bounds, and refused in the format of the route."""

import bz2
import gzip
import json
import time
import zlib

import pytest
from django.test import Client

from config.http.compression import MOST_MEMBERS, CorruptBody, InflatedTooLarge, inflate
from events.models import Event
from tests.workspaces.factories import WorkspaceFactory, a_key

LIMIT = 1_000_000


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0)),
        (
            "gzip",
            gzip.compress(b'{"a":', mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b" 1}", mtime=0),
        ),
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0) + bytes(100)),
        ("deflate", zlib.compress(b'{"a": 1}')),
        ("deflate", raw_deflate(b'{"a": 1}')),
    ],
)
def test_what_was_packed_comes_out(encoding, packed):
    assert inflate(packed, encoding, LIMIT) == b'{"a": 1}'


def test_a_body_of_many_pieces_and_members_comes_out():
    body = json.dumps([str(number) for number in range(100_000)]).encode()
    parts = [body[start : start + 10_000] for start in range(0, len(body), 10_000)]
    assert inflate(gzip.compress(body), "gzip", len(body)) == body
    assert inflate(b"".join(map(gzip.compress, parts)), "gzip", len(body)) == body


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0)[:12],
        gzip.compress(b"{}", mtime=0)[:-8] + bytes(8),
        gzip.compress(b"{}", mtime=0) + b"rest",
        gzip.compress(b"{}", mtime=0) * (MOST_MEMBERS + 1),
    ],
)
def test_what_is_not_whole_is_corrupt(packed):
    with pytest.raises(CorruptBody):
        inflate(packed, "gzip", LIMIT)


def test_a_bomb_costs_no_more_than_what_is_allowed():
    bomb = gzip.compress(bytes(200_000_000), 9)
    began = time.process_time()
    with pytest.raises(InflatedTooLarge):
        inflate(bomb, "gzip", LIMIT)
    with pytest.raises(CorruptBody):
        inflate(gzip.compress(b"") * 200_000, "gzip", LIMIT)
    assert time.process_time() - began < 2


@pytest.fixture
def workspace(db):
    return WorkspaceFactory.create()


@pytest.fixture
def post(workspace):
    secret = a_key(workspace).secret

    def send(path, body, encoding="gzip"):
        return Client().generic(
            "POST",
            path.format(w=workspace.id),
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}", "Content-Encoding": encoding},
        )

    return send


# A route of each format, and its answers to a body that is malformed.
ROUTES = [
    ("/api/workspaces/{w}/events", {"type": "x"}, 201, 400),
    ("/api/workspaces/{w}/events/batch", {"events": [{"type": "x"}]}, 200, 400),
    ("/api/workspaces/{w}/contacts", {"email": "a@example.com"}, 201, 400),
    ("/v1/workspaces/{w}/contacts", {"attributes": {"email": "a@example.com"}}, 201, 422),
    ("/autosend/v1/events", {"eventName": "x"}, 201, 400),
    ("/api/partner/events", {"type": "x", "email": "a@example.com"}, 201, 422),
    ("/v4/track", {"eventName": "x", "email": "a@example.com"}, 202, 400),
]


@pytest.mark.parametrize(("path", "body", "status", "malformed"), ROUTES)
@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP", "identity, gzip", "identity"])
def test_every_format_takes_a_packed_body(post, path, body, status, malformed, encoding):
    plain = json.dumps(body).encode()
    packed = plain if encoding == "identity" else gzip.compress(plain)
    assert post(path, packed, encoding).status_code == status


@pytest.mark.parametrize(("path", "body", "status", "malformed"), ROUTES)
def test_every_format_refuses_in_its_own_way(post, settings, path, body, status, malformed):
    def told(packed, encoding="gzip"):
        answer = post(path, packed, encoding)
        return answer.status_code, answer.json(), answer.headers

    plain = json.dumps(body).encode()
    broken = post(path, b"{", "identity")
    assert broken.status_code == malformed
    for packed in (gzip.compress(plain)[:-4], plain, gzip.compress(b"{")):
        code, refusal, _ = told(packed)
        assert (code, refusal.keys()) == (malformed, broken.json().keys())
    for encoding in ("br", "zstd", "compress", "gzip, gzip", "x" * 100):
        code, refusal, headers = told(bz2.compress(plain), encoding)
        assert code == 415
        assert "gzip" in json.dumps(refusal)
        assert headers["Accept-Encoding"] == "gzip, deflate"
    settings.MAX_BODY_BYTES = 10_000
    large = post(path, json.dumps({**body, "pad": "x" * 20_000}).encode(), "identity")
    code, refusal, _ = told(gzip.compress(json.dumps({**body, "pad": "x" * 20_000}).encode()))
    assert (code, refusal.keys()) == (413, large.json().keys())
    assert not Event.objects.filter(source="api").exists()


def test_who_is_nobody_is_told_so_before_anything_is_inflated(workspace):
    answer = Client().generic(
        "POST",
        f"/api/workspaces/{workspace.id}/events",
        b"no gzip",
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )
    assert answer.status_code == 401


def test_a_repeated_request_is_known_again_however_it_is_packed(workspace):
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}", "Idempotency-Key": "one"}
    url = f"/api/workspaces/{workspace.id}/events"
    options = {"content_type": "application/json"}
    first = Client().generic("POST", url, b'{"type": "x"}', headers=headers, **options)
    packed = {**headers, "Content-Encoding": "gzip"}
    again = Client().generic("POST", url, gzip.compress(b'{"type": "x"}'), headers=packed, **options)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_other_pages_inflate_too(db):
    body = gzip.compress(b"grant_type=client_credentials")
    form = {"content_type": "application/x-www-form-urlencoded"}
    answer = Client().generic("POST", "/oauth2/token", body, headers={"Content-Encoding": "gzip"}, **form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    for encoding, status in (("gzip", 400), ("br", 415)):
        answer = Client().generic(
            "POST", "/oauth2/token", b"x", headers={"Content-Encoding": encoding}, **form
        )
        assert (answer.status_code, answer.json()) == (status, {"error": "invalid_request"})
