"""Custom fields are declared contact fields; projects are workspaces."""

import pytest

from campaigns.models import ChannelSettings
from contacts.models import Field
from contacts.profiles.fields import create_field
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace


def declare(project, name="plan", kind="string", **more):
    return project.post("/custom-fields", {"fieldName": name, "fieldType": kind, **more})


def details(answer):
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_FAILED"), answer.json()
    return {each["field"]: each["message"] for each in answer.json()["error"]["details"]}


def test_fields_are_declared_and_listed_newest_first(project):
    made = [
        declare(project, name, kind)
        for name, kind in [("plan", "string"), ("isVerified", "boolean"), ("born", "date")]
    ]
    assert [answer.status_code for answer in made] == [201, 201, 201]
    first = made[0].json()
    assert first == {
        "success": True,
        "message": "Custom field created successfully",
        "data": {
            "id": str(Field.objects.get(name="plan").id),
            "fieldName": "plan",
            "fieldType": "string",
            "projectId": str(project.workspace.id),
            "createdAt": first["data"]["createdAt"],
            "updatedAt": first["data"]["createdAt"],
        },
    }
    listed = project.get("/custom-fields").json()
    assert listed["message"] == "Custom fields retrieved successfully"
    assert listed["data"]["customFields"] == [answer.json()["data"] for answer in reversed(made)]
    types = Field.objects.order_by("id").values_list("type", flat=True)
    assert list(types) == ["text", "boolean", "datetime"]


@pytest.mark.parametrize(("kind", "wire"), [("integer", "number"), ("date", "date")])
def test_finer_types_read_as_this_formats(project, kind, wire):
    create_field(project.workspace.id, "x", kind)
    (field,) = project.get("/custom-fields").json()["data"]["customFields"]
    assert field["fieldType"] == wire


def test_values_of_a_declared_field_are_checked(project):
    declare(project, "isVerified", "boolean")
    declare(project, "born", "date")
    contact = {"email": "jane@example.com", "customFields": {"isVerified": "perhaps"}}
    assert "customFields.isVerified" in details(project.post("/contacts", contact))
    contact["customFields"] = {"isVerified": "true", "born": "1990-05-01"}
    fields = project.post("/contacts", contact).json()["data"]["customFields"]
    assert fields == {"isVerified": True, "born": "1990-05-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"fieldName": None}, "fieldName", "fieldName is required"),
        ({"fieldName": " "}, "fieldName", "A field needs a name"),
        ({"fieldName": "x" * 65}, "fieldName", "cannot name a field"),
        ({"fieldName": "First_Name"}, "fieldName", "fieldName is a reserved name"),
        ({"fieldName": "city"}, "fieldName", "fieldName is a reserved name"),
        ({"fieldName": "score"}, "fieldName", "score cannot name a field"),
        ({"fieldType": "text"}, "fieldType", "fieldType must be one of"),
        ({"fieldType": "number"}, "fieldType", "fieldType cannot be number"),
        ({"description": "x"}, "description", "description cannot be kept"),
        ({"defaultValue": "x"}, "defaultValue", "defaultValue cannot be kept"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_name(project, changes, field, message):
    answer = project.post("/custom-fields", {"fieldName": "plan", "fieldType": "string", **changes})
    assert message in details(answer)[field]
    assert not Field.objects.exists()


def test_a_name_is_taken_once(project):
    declare(project)
    answer = declare(project, kind="boolean")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CUSTOM_FIELD_ALREADY_EXISTS")


def test_a_field_is_deleted_by_name(project, jane):
    declare(project, "plan/tier")
    create_field(WorkspaceFactory().id, "theirs", "text")
    answer = project.delete("/custom-fields/fieldName/plan%2Ftier")
    assert (answer.status_code, answer.json()) == (
        200,
        {"success": True, "message": "Custom field deleted successfully"},
    )
    for name in ("plan%2Ftier", "theirs"):
        gone = project.delete(f"/custom-fields/fieldName/{name}")
        assert gone.status_code == 404
        assert gone.json()["error"] == {"message": "Custom field not found", "code": "CUSTOM_FIELD_NOT_FOUND"}


def test_the_field_that_identifies_contacts_stays(project):
    declare(project, "member")
    Workspace.objects.filter(id=project.workspace.id).update(identity_field="member")
    answer = project.delete("/custom-fields/fieldName/member")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CUSTOM_FIELD_IN_USE")


def test_the_project_is_the_keys_workspace(project):
    ChannelSettings.objects.create(
        workspace=project.workspace, channel="email", options={"trackOpens": False}
    )
    (shown,) = project.get("/account/projects").json()["data"]["projects"]
    assert shown == {
        "id": str(project.workspace.id),
        "name": project.workspace.name,
        "domain": None,
        "domains": [],
        "industry": None,
        "logo": None,
        "address": None,
        "trackingOpen": False,
        "trackingClick": True,
        "createdAt": shown["createdAt"],
    }
    assert project.get(f"/account/projects/{project.workspace.id}").json() == {"success": True, "data": shown}
    for other in (WorkspaceFactory().id, "x"):
        answer = project.get(f"/account/projects/{other}")
        assert answer.status_code == 404
        assert answer.json()["error"] == {"message": "Project not found", "code": "PROJECT_NOT_FOUND"}
    assert project.post("/account/projects", {"name": "x"}).status_code == 405
