"""Imports by the native API: a file is uploaded, workers import it, and the answers tell how far it is."""

import errno
import gzip
import io
import json
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from config import clock
from config.files import received, upload_handler
from config.http import bodies
from contacts.models import Contact, Import
from events.models import Event, EventBatch
from tests.contacts.imports.uploads import upload, work
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("uploads_folder")]
CONTACTS = "email,first name\nada@x.test,Ada\nnobody,\n"
EVENTS = (
    '{"type": "buy", "timestamp": "2024-02-01T12:00:00Z", "email": "ada@x.test", "metadata": {"n": 1}}\n'
    '{"type": "buy", "timestamp": "01/02/2024", "email": "ada@x.test"}\n'
)


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def send_form(api, content, **fields):
    """Upload a file as a form; a field that is none is left out."""
    headers = fields.pop("headers", {})
    file = SimpleUploadedFile("people.csv", content if isinstance(content, bytes) else content.encode())
    form = {"kind": "contacts", "file": file, **fields}
    return api.client.post(
        f"{api.base}/imports", {name: value for name, value in form.items() if value is not None},
        **api.headers, **headers,
    )  # fmt: skip


def send_raw(api, content, media_type="text/csv", **parameters):
    """Upload a file as the body."""
    headers = parameters.pop("headers", {})
    return api.client.generic(
        "POST",
        f"{api.base}/imports",
        content if isinstance(content, bytes) else content.encode(),
        media_type,
        query_params={"kind": "contacts", **parameters},
        **api.headers,
        **headers,
    )


def test_a_form_with_a_file_is_taken_and_imported(api, workspace):
    answer = send_form(api, CONTACTS)
    assert answer.status_code == 202
    taken = answer.json()
    assert (taken["status"], taken["name"], taken["rows"], taken["progress"]) == (
        "queued",
        "people.csv",
        0,
        0.0,
    )
    assert work(workspace) == ["done"]
    assert Contact.objects.get().first_name == "Ada"
    done = api.get(f"imports/{taken['id']}").json()
    assert {name: done[name] for name in ("status", "rows", "recorded", "known", "refused", "progress")} == {
        "status": "done",
        "rows": 2,
        "recorded": 1,
        "known": 0,
        "refused": 1,
        "progress": 1.0,
    }
    assert (done["size"], done["position"]) == (len(CONTACTS), len(CONTACTS))
    assert done["finishedAt"] is not None
    assert api.get("imports").json()["data"] == [done]


def test_refused_rows_are_a_file_that_imports_once_it_is_mended(api, workspace):
    taken = send_form(api, CONTACTS).json()
    work(workspace)
    answer = api.get(f"imports/{taken['id']}/refused")
    assert answer.headers["Content-Type"] == "application/jsonl"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{taken["id"]}.refused.jsonl"'
    (row,) = map(json.loads, answer.content.splitlines())
    assert (row["line"], row["row"]["email"]) == (3, "nobody")
    mended = answer.content.replace(b"nobody", b"bob@x.test")
    second = send_raw(api, mended, "application/jsonl").json()
    work(workspace)
    assert api.get(f"imports/{second['id']}").json()["recorded"] == 1


@pytest.mark.parametrize(
    ("media_type", "headers", "pack"),
    [
        ("text/csv", {}, str.encode),
        ("application/octet-stream", {}, lambda text: gzip.compress(text.encode())),
        ("", {}, str.encode),
        ("text/csv", {"HTTP_CONTENT_ENCODING": "gzip"}, lambda text: gzip.compress(text.encode())),
    ],
    ids=["csv", "gzip", "no type", "packed"],
)
def test_a_body_may_be_nothing_but_the_file(api, workspace, media_type, headers, pack):
    answer = send_raw(api, pack(CONTACTS), media_type, effects="all", headers=headers)
    assert (answer.status_code, answer.json()["effects"]) == (202, "all")
    work(workspace)
    assert Contact.objects.count() == 1
    assert {batch.level for batch in EventBatch.objects.all()} == {2}


def test_events_are_imported_with_a_map_and_are_the_ones_that_a_command_would_record(api, workspace):
    answer = send_raw(api, EVENTS, kind="events", map='{"events": {"name": "type", "timestamp": "timestamp",'
                      ' "email": "email", "properties": {"value": {"source": "file"}}}}')  # fmt: skip
    assert answer.status_code == 202, answer.content
    work(workspace)
    event = Event.objects.get(source="import")
    assert (event.name, event.properties) == ("buy", {"source": "file"})
    assert event.message_id.startswith("import:")
    refused = api.get(f"imports/{answer.json()['id']}/refused").content
    assert "timestamp" in json.loads(refused)["cause"]


def test_a_dry_run_records_nothing(api, workspace):
    taken = send_form(api, CONTACTS, dryRun="true").json()
    work(workspace)
    done = api.get(f"imports/{taken['id']}").json()
    assert (done["dryRun"], done["recorded"], done["refused"]) == (True, 1, 1)
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "people"}, "kind"),
        ({"kind": None}, "kind"),
        ({"effects": "some"}, "effects"),
        ({"map": "nobody"}, "map"),
        ({"map": "contacts: {e-mail: E}"}, "map"),
        ({"dryRun": "1"}, "dryRun"),
        ({"format": "xml"}, "format"),
        ({"encoding": "klingon"}, "file"),
        ({"encoding": "\x00"}, "encoding"),
        ({"consents": "all"}, "consents"),
        ({"kind": "events", "consents": "overwrite"}, "consents"),
        ({"separator": ","}, "separator"),
        ({"delimiter": "::"}, "file"),
        ({"file": None}, "file"),
        ({"file": "email\na@x.test"}, "file"),
        ({"other": SimpleUploadedFile("x", b"x")}, "other"),
        ({"map": SimpleUploadedFile("x", b"x" * 100_001)}, "map"),
        ({"map": SimpleUploadedFile("x", b"\xff")}, "map"),
        ({"file": SimpleUploadedFile("x", b'[{"email": "a@x.test"}]')}, "file"),
        ({"file": SimpleUploadedFile("x", b"a,a\n1,2\n")}, "file"),
        ({"file": SimpleUploadedFile("x", b"PK\x03\x04")}, "file"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_named(api, fields, field, uploads_folder):
    answer = send_form(api, CONTACTS, **fields)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [field]), answer.content
    assert not Import.objects.exists()
    assert [path for path in uploads_folder.rglob("*") if path.is_file()] == []


def test_other_refusals(api, settings):
    assert send_raw(api, b"").status_code == 400
    assert send_raw(api, CONTACTS, dryRun="yes").status_code == 400
    assert send_raw(api, CONTACTS, headers={"HTTP_CONTENT_ENCODING": "deflate"}).status_code == 415
    assert send_raw(api, b"x", "multipart/form-data").status_code == 400
    cut = gzip.compress(CONTACTS.encode() * 999)[:-20]
    answer = send_raw(api, cut)
    assert (answer.status_code, "ends early" in answer.json()["error"]) == (400, True)
    answer = api.client.post(f"{api.base}/imports?kind=events", {"kind": "contacts"}, **api.headers)
    assert answer.status_code == 400


def test_of_a_body_in_chunks_it_is_known_where_it_ends(api):
    # As granian hands over what was cut off: it just ends.
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked"}
    assert send_raw(api, CONTACTS, headers=chunked).status_code == 411
    assert send_form(api, CONTACTS, headers=chunked).status_code == 411
    packed = gzip.compress(CONTACTS.encode())
    assert send_raw(api, packed[:-9], headers=chunked).status_code == 400
    assert send_raw(api, packed, headers=chunked).status_code == 202


@pytest.mark.parametrize("send", [send_form, send_raw])
@pytest.mark.parametrize(
    "pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["sent", "unpacked"]
)
def test_a_file_is_at_most_so_large(api, settings, send, pack):
    settings.MAX_UPLOAD_BYTES = 5_000
    answer = send(api, pack(CONTACTS * 1_000))
    assert (answer.status_code, "5,000 bytes" in answer.json()["error"]) == (413, True)
    assert send(api, pack(CONTACTS)).status_code == 202


@pytest.mark.parametrize("send", [send_form, send_raw])
def test_a_full_disk_is_a_503_and_nothing_is_left(api, send, monkeypatch, uploads_folder):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            super().close()
            files.remove(self)

    files = []
    for module in (received, upload_handler):
        monkeypatch.setattr(module, "temporary_file", lambda: files.append(Full()) or files[-1])
    answer = send(api, CONTACTS)
    assert (answer.status_code, "No space left" in answer.json()["error"]) == (503, True)
    assert (files, Import.objects.count()) == ([], 0)


def test_a_body_may_be_larger_than_others(api, settings, workspace):
    settings.MAX_BODY_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert send_form(api, CONTACTS * 100).status_code == 202
    assert send_raw(api, CONTACTS * 200).status_code == 202


def test_the_same_file_twice_at_once_is_a_conflict(api, workspace):
    first = send_form(api, CONTACTS).json()
    answer = send_raw(api, CONTACTS)
    assert (answer.status_code, first["id"] in answer.json()["error"]) == (409, True)
    assert send_raw(api, CONTACTS, dryRun="true").status_code == 202
    work(workspace)
    assert send_raw(api, CONTACTS).status_code == 202


def test_under_a_key_a_file_is_taken_once(api, workspace):
    key = {"HTTP_IDEMPOTENCY_KEY": "people-1"}
    first = send_form(api, CONTACTS, headers=key)
    # Another boundary, the same file.
    second = send_form(api, CONTACTS, headers=key)
    assert (second.status_code, second.json()) == (202, first.json())
    assert second.headers["Idempotent-Replayed"] == "true"
    assert send_form(api, CONTACTS + "c@x.test,\n", headers=key).status_code == 409
    assert send_form(api, CONTACTS, effects="all", headers=key).status_code == 409
    assert Import.objects.count() == 1


def test_an_import_is_cancelled_once(api, workspace):
    taken = send_form(api, CONTACTS).json()
    answer = api.post(f"imports/{taken['id']}/cancel", {})
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert work(workspace) == ["nothing"]
    assert api.post(f"imports/{taken['id']}/cancel", {}).status_code == 409


def test_lists_are_filtered_and_paged(api, workspace):
    Import.objects.bulk_create(
        Import(workspace=workspace, kind="events", name=f"{n}", started_at=clock.now()) for n in range(3)
    )
    upload(workspace, CONTACTS)
    assert [each["origin"] for each in api.get("imports", kind="contacts").json()["data"]] == ["api"]
    assert len(api.get("imports", status="running", origin="command").json()["data"]) == 3
    page = api.get("imports", limit=2).json()
    assert len(page["data"]) == 2
    assert len(api.get("imports", before=page["next"]).json()["data"]) == 2
    assert api.get("imports", status="over").status_code == 400
    assert api.get("imports", other="x").status_code == 400


def test_refused_rows_of_commands_and_old_ones_are_not_there(api, workspace):
    run = upload(workspace, CONTACTS)
    work(workspace)
    Import.objects.update(refused_bytes=0)
    answer = api.get(f"imports/{run.id}/refused")
    assert (answer.status_code, "deleted" in answer.json()["error"]) == (404, True)
    Import.objects.update(origin="command", finished_at=clock.now() - timedelta(days=1))
    answer = api.get(f"imports/{run.id}/refused")
    assert (answer.status_code, "command" in answer.json()["error"]) == (404, True)


def test_another_workspaces_imports_are_not_there(api, workspace):
    run = upload(WorkspaceFactory.create(), CONTACTS)
    assert api.get("imports").json()["data"] == []
    assert api.get(f"imports/{run.id}").status_code == 404
    assert api.get(f"imports/{run.id}/refused").status_code == 404
    assert api.post(f"imports/{run.id}/cancel", {}).status_code == 404
    other = NativeClient(run.workspace, secret=a_key(workspace).secret)
    assert send_form(other, CONTACTS).status_code == 403
    assert Import.objects.count() == 1


@pytest.mark.parametrize(
    ("scopes", "kind", "status"),
    [
        (["contacts:write"], "contacts", 202),
        (["contacts:write"], "events", 403),
        (["contacts:write", "events:write"], "events", 202),
        (["events:write"], "events", 403),
        (["contacts:read"], "contacts", 403),
    ],
)
def test_an_import_needs_the_scopes_of_what_it_writes(workspace, scopes, kind, status):
    api = NativeClient(workspace, secret=a_key(workspace, scopes=scopes).secret)
    assert send_raw(api, EVENTS if kind == "events" else CONTACTS, kind=kind).status_code == status


def test_nothing_is_read_of_a_file_that_nobody_may_send(workspace, monkeypatch):
    class Unread:
        def read(self, size=-1):
            raise AssertionError("the body was read")

        readline = read

    request = {"wsgi.input": Unread(), "CONTENT_LENGTH": "1000000", "CONTENT_TYPE": "text/csv"}
    answer = Client().post(f"/api/workspaces/{workspace.id}/imports", **{**request, **bearer("hr_none")})
    assert answer.status_code == 401


def test_only_addresses_of_uploads_take_large_bodies(workspace):
    def environ(method, path):
        return {"REQUEST_METHOD": method, "PATH_INFO": path}

    base = f"/api/workspaces/{workspace.id}/imports"
    assert bodies.is_upload(environ("POST", base))
    assert bodies.is_upload(environ("POST", "/admin/contacts/import/add/"))
    assert not bodies.is_upload(environ("GET", base))
    assert not bodies.is_upload(environ("POST", f"{base}/x/cancel"))
