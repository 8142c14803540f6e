"""Staff upload a file, see how far it is, and get the refused rows."""

import gzip
import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from config import clock
from contacts.models import Contact, Import
from events.models import Event
from tests.admin.tenants import somebody
from tests.contacts.imports.uploads import counts, upload, work
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import AuditEntry

pytestmark = pytest.mark.usefixtures("uploads_folder")
ADD = "/admin/contacts/import/add/"
PEOPLE = "email,first name\nada@x.test,Ada\nnobody,\nnothing,\n"


def send(client, workspace, content=PEOPLE, **fields):
    content = content if isinstance(content, bytes) else content.encode()
    form = {
        "workspace": str(workspace.pk),
        "kind": "contacts",
        "effects": "scores-and-segments",
        "consents": "newer",
        "map": "",
        "file": SimpleUploadedFile("people.csv", content),
        **fields,
    }
    return client.post(ADD, {name: value for name, value in form.items() if value is not None})


def page_of(run, name="change"):
    return reverse(f"admin:contacts_import_{name}", args=[run.pk])


def errors(response):
    return " ".join(" ".join(found) for found in response.context["errors"])


def test_a_file_is_uploaded_and_its_page_tells_how_far_it_is(staff, workspace):
    form = staff.get(ADD)
    assert 'enctype="multipart/form-data"' in form.text
    assert '<option value="segment">segment</option>' in form.text
    response = send(staff, workspace)
    run = Import.objects.get()
    assert (response.status_code, response.url) == (302, page_of(run))
    assert (run.origin, run.status, run.name) == ("admin", "queued", "people.csv")
    shown = staff.get(page_of(run)).text
    assert "import_progress.js" in shown
    assert "Cancel the import" in shown
    work(workspace)
    shown = staff.get(page_of(run)).text
    assert "Done: 3 rows decided" in " ".join(shown.split())
    assert "This is not a valid email" in shown
    assert "import_progress.js" not in shown
    assert "Cancel the import" not in shown
    assert Contact.objects.get().first_name == "Ada"
    assert "people.csv" in staff.get("/admin/contacts/import/").text


def test_the_upload_is_in_the_log(staff, workspace):
    send(staff, workspace)
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (str(Import.objects.get().pk), "people.csv (contacts)")
    assert AuditEntry.objects.get().workspace_id == workspace.pk


def test_refused_rows_are_downloaded(staff, workspace):
    send(staff, workspace)
    work(workspace)
    run = Import.objects.get()
    assert page_of(run, "refused") in staff.get(page_of(run)).text
    answer = staff.get(page_of(run, "refused"))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="people.csv.refused.jsonl"'
    assert [json.loads(line)["row"]["email"] for line in answer.content.splitlines()] == ["nobody", "nothing"]
    Import.objects.update(refused_bytes=0)
    assert page_of(run, "refused") not in staff.get(page_of(run)).text
    assert "were deleted" in staff.get(page_of(run, "refused"), follow=True).text


def test_a_packed_file_is_only_tried(staff, workspace):
    send(staff, workspace, gzip.compress(PEOPLE.encode()), dry_run="on", effects="all")
    work(workspace)
    run = Import.objects.get()
    assert counts(run) == ("done", 3, 1, 0, 2)
    assert not Contact.objects.exists()
    assert "Only tried, nothing is recorded. Done: 3 rows decided" in staff.get(page_of(run)).text


def test_events_come_in_by_a_vendors_map_or_by_one_of_ones_own(staff, workspace):
    own = SimpleUploadedFile("map.yaml", b"events: {name: {value: buy}, timestamp: Day, email: Mail}")
    send(staff, workspace, "Day,Mail\n2024-02-01T12:00:00Z,a@x.test\n", kind="events", own_map=own)
    send(
        staff,
        workspace,
        "event_text,timestamp,user_id,id\nlogin,2024-02-01T12:00:00Z,u1,m1\n",
        kind="events",
        map="segment",
    )
    work(workspace)
    assert sorted(Event.objects.filter(source="import").values_list("name", flat=True)) == ["buy", "login"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"file": None}, "This field is required"),
        ({"file": SimpleUploadedFile("x", b"")}, "empty"),
        ({"content": "a,a\n1,2\n"}, "names a column twice"),
        ({"content": '[{"email": "a@x.test"}]'}, "array of JSON"),
        ({"content": gzip.compress(PEOPLE.encode() * 99)[:-12]}, "ends early"),
        ({"map": "nobody"}, "valid choice"),
        ({"kind": "events", "map": "leadpush", "own_map": SimpleUploadedFile("m", b"events: {}")}, "Choose a vendor"),
        ({"own_map": SimpleUploadedFile("m", b"\xff")}, "not valid UTF-8"),
        ({"own_map": SimpleUploadedFile("m", b"contacts: {mail: E}")}, "no field mail"),
        ({"own_map": SimpleUploadedFile("m", b"x" * 100_001)}, "at most 100,000 bytes"),
        ({"kind": "people"}, "valid choice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_wrong_is_shown_on_the_form(staff, workspace, fields, error):
    fields = {**fields}
    answer = send(staff, workspace, fields.pop("content", PEOPLE), **fields)
    assert answer.status_code == 200
    assert error in errors(answer)
    assert not Import.objects.exists()


def test_a_file_that_is_too_large_is_refused_on_the_form(staff, workspace, settings):
    settings.MAX_UPLOAD_BYTES = 5_000
    answer = send(staff, workspace, gzip.compress(PEOPLE.encode() * 999))
    assert "5,000 bytes" in errors(answer)


def test_the_same_file_twice_at_once_is_told(staff, workspace):
    send(staff, workspace)
    assert "Another process is at the import" in errors(send(staff, workspace))


def test_an_import_is_cancelled(staff, workspace):
    run = upload(workspace, PEOPLE)
    assert staff.get(page_of(run, "cancel")).status_code == 403
    assert "It is cancelled" in staff.post(page_of(run, "cancel"), follow=True).text
    assert counts(run)[0] == "cancelled"
    assert "is cancelled already" in staff.post(page_of(run, "cancel"), follow=True).text
    assert LogEntry.objects.get().change_message == "Cancelled."


def test_imports_of_commands_have_their_page(staff, workspace):
    run = Import.objects.create(
        workspace=workspace, kind="events", name="file.csv", refused=3, refused_file="/data/file.refused.jsonl",
        finished_at=clock.now() - timedelta(days=1), status="done",
    )  # fmt: skip
    shown = staff.get(page_of(run)).text
    assert "/data/file.refused.jsonl" in shown
    assert "Download the refused rows" not in shown


def test_members_upload_where_their_role_allows_it(workspace):
    other = WorkspaceFactory.create()
    editor, viewer = somebody(workspace, "editor"), somebody(workspace, "viewer")
    run, foreign = upload(workspace, PEOPLE), upload(other, PEOPLE)
    assert "valid choice" in errors(send(editor, other))
    assert send(editor, workspace, "email\nbob@x.test\n").status_code == 302
    assert send(viewer, workspace).status_code == 403
    assert viewer.get(ADD).status_code == 403
    assert viewer.get(page_of(run)).status_code == 200
    assert viewer.post(page_of(run, "cancel")).status_code == 403
    for client in (editor, viewer):
        assert client.get(page_of(foreign, "refused")).status_code == 404
        assert client.post(page_of(foreign, "cancel")).status_code == 404
    assert Import.objects.filter(workspace=other).count() == 1


@pytest.mark.parametrize(("role", "status"), [("", 400), ("editor", 302)])
def test_nobody_but_staff_sends_large_files_to_a_page(workspace, settings, role, status):
    settings.MAX_BODY_BYTES = 100
    client = Client(enforce_csrf_checks=True)
    if role:
        client.cookies = somebody(workspace, role).cookies
    client.cookies["csrftoken"] = token = "t" * 32
    # The token is in the body, which is read before it is known who sends it.
    answer = send(client, workspace, PEOPLE * 100, csrfmiddlewaretoken=token)
    assert answer.status_code == status
    assert Import.objects.count() == (status == 302)
