"""Who an e-mail is from and who gets the answers: the campaign, else the template, the channel, the settings."""

import pytest

from campaigns.errors import InvalidCampaign, InvalidChannelSettings, TemplateFault
from campaigns.journeys.lifecycle import create_campaign, update_campaign
from campaigns.messaging.channel_settings import save_channel
from campaigns.messaging.channels.email import compose
from campaigns.messaging.policy import settings_of
from campaigns.messaging.templates import save_template
from campaigns.models import Template
from tests.campaigns.factories import a_campaign, definition, messages_of, on_event, sends, work
from tests.campaigns.messages import a_message, a_template, use_channel
from tests.campaigns.rows import a_campaign_row
from tests.native import NativeClient
from tests.segments.factories import send

BAD = [
    "nobody",
    "a@",
    "@b.test",
    "a@b.test, c@d.test",
    "Acme: News <a@b.test>",
    "a@b.test\r\nBcc: c@d.test",
    "<>",
]


def headers_of(message):
    mail = compose(message, settings_of(message.workspace_id, "email")).message()
    return mail["From"], mail["Reply-To"]


@pytest.mark.parametrize("level", ["campaign", "template", "channel", "settings"])
def test_the_nearest_says_who_it_is_from_and_who_is_answered(workspace, jane, settings, level):
    said = {}
    settings.DEFAULT_FROM_EMAIL, settings.DEFAULT_REPLY_TO = "Setting <s@ours.test>", "sr@ours.test"
    if level != "settings":
        use_channel(workspace, "email", sender="Channel <c@ours.test>", options={"replyTo": "cr@ours.test"})
    if level in ("template", "campaign"):
        said = {"sender": "Template <t@ours.test>", "reply_to": "tr@ours.test"}
    template = a_template(workspace, **said)
    campaign = a_campaign_row(workspace)
    if level == "campaign":
        campaign.sender, campaign.reply_to = "Campaign <k@ours.test>", "kr@ours.test"

    message = a_message(jane, template, campaign=campaign)

    letter = {"campaign": "k", "template": "t", "channel": "c", "settings": "s"}[level]
    name = level.removesuffix("s").capitalize()
    assert headers_of(message) == (f"{name} <{letter}@ours.test>", f"{letter}r@ours.test")
    assert (
        compose(message, settings_of(workspace.id, "email")).message()["Message-ID"].endswith("@ours.test>")
    )


def test_each_of_the_two_is_said_by_itself(workspace, jane, settings):
    settings.DEFAULT_FROM_EMAIL = "s@ours.test"
    template = a_template(workspace, reply_to="Desk <tr@ours.test>")
    campaign = a_campaign_row(workspace, sender="k@ours.test")

    assert headers_of(a_message(jane, template, campaign=campaign)) == ("k@ours.test", "Desk <tr@ours.test>")
    assert headers_of(a_message(jane, template)) == ("s@ours.test", "Desk <tr@ours.test>")
    assert headers_of(a_message(jane)) == ("s@ours.test", None)


def test_what_a_step_sends_is_from_the_campaign(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace), trigger=on_event("buy")))
    update_campaign(workspace.id, campaign, sender="Shop <k@ours.test>", reply_to="kr@ours.test")
    send(workspace, jane, "buy")
    work(workspace)

    (message,) = messages_of(campaign)
    assert headers_of(message) == ("Shop <k@ours.test>", "kr@ours.test")


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("field", ["sender", "reply_to"])
def test_what_is_no_mailbox_is_refused_when_it_is_saved(workspace, field, text):
    with pytest.raises(TemplateFault, match=field):
        save_template(Template(workspace=workspace, name="Hi", body="Hi"), **{field: text})
    with pytest.raises(InvalidCampaign) as caught:
        create_campaign(workspace.id, name="Hi", **{field: text})
    assert caught.value.field == field
    with pytest.raises(InvalidChannelSettings):
        save_channel(
            workspace.id,
            "email",
            **({"sender": text} if field == "sender" else {"options": {"replyTo": text}}),
        )


def test_only_an_e_mail_has_a_sender(workspace):
    template = Template(workspace=workspace, name="Hi", body="Hi", channel="telegram")
    with pytest.raises(TemplateFault, match="sender"):
        save_template(template, sender="a@b.test")


def test_the_api_takes_and_shows_both(workspace):
    api = NativeClient(workspace)
    for path, body in (
        ("templates", {"name": "Hi", "body": "Hi"}),
        ("campaigns", {"name": "Hi", "type": "AUTOMATED"}),
    ):
        made = api.post(path, {**body, "sender": "Acme <a@b.test>", "replyTo": "r@b.test"}).json()
        assert (made["sender"], made["replyTo"]) == ("Acme <a@b.test>", "r@b.test")
        changed = api.patch(f"{path}/{made['id']}", {"replyTo": ""}).json()
        assert (changed["sender"], changed["replyTo"]) == ("Acme <a@b.test>", "")
        for field in ("sender", "replyTo"):
            refused = api.patch(f"{path}/{made['id']}", {field: "nobody"})
            assert refused.status_code == 400
            assert list(refused.json()["details"]) == [field]
