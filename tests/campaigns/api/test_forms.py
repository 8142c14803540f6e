"""Forms in the native format."""

from uuid import uuid4

import pytest

from campaigns.models import Form
from tests.campaigns.rows import a_form_row, a_submission, a_template_row
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db

EMAIL = {"name": "email", "type": "email", "label": "E-mail", "required": True}
_READING = ["campaigns:read", "contacts:read", "events:read"]
NEWS = {"name": "News", "fields": [EMAIL], "consents": ["EMAIL"]}


def test_a_form_is_written_shown_changed_and_deleted(api, workspace):
    answer = api.post("forms", NEWS)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["name"], made["consents"], made["active"]) == ("News", ["EMAIL"], True)
    assert made["fields"][0]["mapsTo"] == "email"
    assert made["submitUrl"].endswith(f"/api/forms/{made['id']}/submit")
    assert made["_count"] == {"submissions": 0}
    assert api.get("forms").json() == [made]
    assert api.get(f"forms/{made['id']}").json() == made

    template = a_template_row(workspace)
    changes = {"doubleOptIn": True, "confirmationTemplateId": str(template.id), "active": False}
    changed = api.patch(f"forms/{made['id']}", changes).json()
    assert {name: changed[name] for name in changes} == changes
    assert changed["fields"] == made["fields"]
    changed = api.patch(f"forms/{made['id']}", {"doubleOptIn": False, "confirmationTemplateId": None}).json()
    assert changed["confirmationTemplateId"] is None
    assert api.delete(f"forms/{made['id']}").status_code == 204
    assert not Form.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"fields": []}, "fields"),
        ({"fields": [{"name": "x", "type": "moon"}]}, "fields.0.type"),
        ({"fields": "email"}, "fields"),
        ({"name": 5}, "name"),
        ({"allowedOrigins": ["example.com"]}, "allowedOrigins"),
        ({"consents": ["PIGEON"]}, "consents.0"),
        ({"doubleOptIn": True}, "confirmationTemplateId"),
        ({"confirmationTemplateId": str(uuid4())}, "confirmationTemplateId"),
        ({"redirectUrl": "javascript:alert(1)"}, "redirectUrl"),
        ({"active": "yes"}, "active"),
    ],
)
def test_what_cannot_be_a_form_is_refused_by_name(api, workspace, changes, field):
    answer = api.post("forms", {**NEWS, **changes})
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field], answer.json()
    assert not Form.objects.exists()


def test_a_name_is_one_forms_only(api):
    api.post("forms", NEWS)
    assert api.post("forms", NEWS).status_code == 409


def test_the_list_is_narrowed(api, workspace):
    a_form_row(workspace, "News")
    a_form_row(workspace, "Old", active=False)

    def names(**parameters):
        return [row["name"] for row in api.get("forms", **parameters).json()]

    assert names() == ["News", "Old"]
    assert names(active="false") == names(name="ol") == ["Old"]
    assert api.get("forms", active="x").status_code == 400


def test_submissions_are_listed_and_counted(api, workspace, jane):
    form = a_form_row(workspace, "News")
    other = a_form_row(workspace, "Other")
    first, second = (a_submission(form, jane, answers={"n": n}) for n in range(2))
    a_submission(other, jane)
    page = api.get(f"forms/{form.id}/submissions").json()
    assert [row["id"] for row in page["data"]] == [str(second.id), str(first.id)]
    assert page["data"][0]["answers"] == {"n": 1}
    assert page["data"][0]["contact"]["email"] == "jane@example.test"
    assert [row["_count"]["submissions"] for row in api.get("forms").json()] == [2, 1]


def test_what_is_not_there_is_a_404(api):
    theirs = a_form_row(WorkspaceFactory())
    for unknown in ("x", uuid4(), theirs.id):
        for answer in (
            api.get(f"forms/{unknown}"),
            api.patch(f"forms/{unknown}", {}),
            api.delete(f"forms/{unknown}"),
            api.get(f"forms/{unknown}/submissions"),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "Form not found"})


def test_the_scopes(workspace):
    form = a_form_row(workspace, "News")
    reader = NativeClient(workspace, secret=a_key(workspace, scopes=_READING).secret)
    assert reader.get(f"forms/{form.id}/submissions").status_code == 200
    for answer in (
        reader.post("forms", NEWS),
        reader.patch(f"forms/{form.id}", {}),
        reader.delete(f"forms/{form.id}"),
    ):
        assert answer.status_code == 403
