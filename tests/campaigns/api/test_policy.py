"""Suppressions and channels in the native format."""

from uuid import uuid4

import pytest

from campaigns.models import ChannelSettings, Suppression
from tests.campaigns.rows import a_suppression
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db


def test_an_address_is_suppressed_once_and_let_go(api, workspace):
    answer = api.post("suppressions", {"address": " Jane@Example.TEST ", "note": "asked"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["address"], made["channel"], made["reason"]) == ("jane@example.test", "EMAIL", "MANUAL")
    again = api.post("suppressions", {"address": "jane@example.test", "note": "again"})
    assert (again.status_code, again.json()) == (200, made)
    assert api.get("suppressions").json() == {"data": [made], "next": None}
    assert api.delete(f"suppressions/{made['id']}").status_code == 204
    assert not Suppression.objects.filter(workspace=workspace).exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "nobody"},
        {"address": ""},
        {"address": "a@b.test", "channel": "PIGEON"},
        {},
        {"address": 5},
    ],
)
def test_what_is_no_address_is_refused(api, wrong):
    assert api.post("suppressions", wrong).status_code == 400
    assert not Suppression.objects.exists()


def test_suppressions_are_found(api, workspace):
    bounced = a_suppression(workspace, "a@b.test", reason="bounce")
    chat = a_suppression(workspace, "77", channel="telegram")
    a_suppression(WorkspaceFactory(), "a@b.test")

    def found(**parameters):
        return [row["id"] for row in api.get("suppressions", **parameters).json()["data"]]

    assert found() == [str(chat.id), str(bounced.id)]
    assert found(reason="BOUNCE") == found(address="A@b.test") == found(channel="EMAIL") == [str(bounced.id)]
    assert found(address="77") == [str(chat.id)]
    assert found(address="nobody") == []
    assert api.get("suppressions", reason="x").status_code == 400


def test_a_suppression_that_is_not_there(api):
    theirs = a_suppression(WorkspaceFactory(), "a@b.test")
    for unknown in ("x", uuid4(), theirs.id):
        assert api.delete(f"suppressions/{unknown}").status_code == 404
    assert Suppression.objects.count() == 1


def test_channels_have_their_defaults_until_somebody_says_otherwise(api, workspace):
    rows = api.get("channels").json()
    assert [row["channel"] for row in rows] == ["EMAIL", "WEBHOOK", "TELEGRAM"]
    assert all(row["frequencyCap"] is row["quietHours"] is None for row in rows)
    assert not ChannelSettings.objects.exists()
    wanted = {
        "sender": "Mill <mill@example.test>",
        "requiresOptIn": True,
        "frequencyCap": {"count": 3, "hours": 48},
        "quietHours": {"start": "22:00", "end": "08:00"},
        "timeZone": "Europe/Paris",
        "onUnknown": "RETRY",
        "maxAttempts": 4,
        "options": {"trackOpens": False},
    }
    answer = api.patch("channels/EMAIL", wanted)
    assert answer.status_code == 200
    assert answer.json() == {"channel": "EMAIL", "hasSecret": False, **wanted}
    assert api.get("channels/email").json() == answer.json()
    assert api.get("channels").json()[0] == answer.json()
    row = ChannelSettings.objects.get(workspace=workspace)
    assert (row.cap_count, row.cap_hours, f"{row.quiet_from:%H:%M}") == (3, 48, "22:00")

    # What the body does not name stays; null takes a limit away.
    answer = api.patch("channels/EMAIL", {"frequencyCap": None, "quietHours": None}).json()
    assert (answer["frequencyCap"], answer["quietHours"], answer["maxAttempts"]) == (None, None, 4)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sender": "nobody"}, "sender"),
        ({"sender": "News <news@straße.test>"}, "sender"),
        ({"sender": "Acme: News <news@acme.test>"}, "sender"),
        ({"sender": "a@acme.test, b@acme.test"}, "sender"),
        ({"sender": "A <a@acme.test>; B <b@acme.test>"}, "sender"),
        ({"sender": "a@b.test\nBcc: c@d.test"}, "sender"),
        ({"timeZone": "Moon/Tranquility"}, "timeZone"),
        ({"timeZone": "../etc/passwd"}, "timeZone"),
        ({"quietHours": {"start": "22:00", "end": "22:00"}}, "quietHours"),
        ({"quietHours": {"start": "22:00"}}, "quietHours.end"),
        ({"frequencyCap": {"count": 0, "hours": 1}}, "frequencyCap.count"),
        ({"frequencyCap": {"count": 1, "hours": 10_000}}, "frequencyCap.hours"),
        ({"maxAttempts": 51}, "maxAttempts"),
        ({"onUnknown": "MAYBE"}, "onUnknown"),
        ({"options": []}, "options"),
    ],
)
def test_what_a_channel_cannot_be_is_refused_by_name(api, wrong, field):
    answer = api.patch("channels/EMAIL", wrong)
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field], answer.json()
    assert not ChannelSettings.objects.filter(sender="nobody").exists()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.test/",
        "https://",
        "https://[shop",
        ["https://shop.test"],
        "https://shop.test/" + "a" * 2_048,
    ],
)
def test_calls_go_to_an_address_that_can_be_called(api, url):
    answer = api.patch("channels/WEBHOOK", {"options": {"url": url}})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["options.url"])
    for fine in ("https://shop.test/hook", ""):
        assert api.patch("channels/WEBHOOK", {"options": {"url": fine}}).status_code == 200


def test_secrets_are_written_and_never_shown(api, workspace):
    answer = api.patch("channels/TELEGRAM", {"secret": "123:token"})
    assert answer.json()["hasSecret"] is True
    for shown in (answer, api.get("channels"), api.get("channels/telegram")):
        assert b"123:token" not in shown.content
    assert ChannelSettings.objects.get(channel="telegram").secret == "123:token"


def test_a_signing_secret_is_shown_once_and_the_last_one_still_signs(api):
    first, second, third = (
        api.post("channels/webhook/signing-secret", {}).json()["secret"] for _ in range(3)
    )
    assert first.startswith("whsec_")
    assert len({first, second, third}) == 3
    assert ChannelSettings.objects.get(channel="webhook").secret == f"{third} {second}"


def test_no_such_channel(api):
    assert api.get("channels/pigeon").status_code == 404
    assert api.patch("channels/pigeon", {}).status_code == 404


def test_the_scopes(workspace):
    reader = NativeClient(
        workspace, secret=a_key(workspace, scopes=["messages:read", "campaigns:read"]).secret
    )
    assert reader.get("suppressions").status_code == 200
    assert reader.get("channels").status_code == 200
    for answer in (
        reader.post("suppressions", {}),
        reader.delete(f"suppressions/{uuid4()}"),
        reader.patch("channels/EMAIL", {}),
        reader.post("channels/webhook/signing-secret", {}),
    ):
        assert answer.status_code == 403
