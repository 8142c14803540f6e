"""Opens, clicks, unsubscribing: what a link in a message does, and what nobody can make it do."""

import re
import time as real_time
from datetime import timedelta

import pytest
from django.test import Client

from campaigns.messaging import tracking_events
from campaigns.messaging.channels.email import compose
from campaigns.messaging.public_links import token_for, unsubscribe_token
from campaigns.messaging.tracking_links import add_tracking, click_url, open_url
from campaigns.models import ChannelSettings, Message
from config import clock, ids
from contacts.crud import get_contact
from contacts.erasure.erasures import erase_person
from events.models import Event
from events.processing.passes import apply_effects
from tests.campaigns.messages import use_channel
from workspaces.throttles import reset_limits

BROWSER = {"HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
TARGET = "https://shop.test/?a=1&b=2"
HTML = """<html><body><a class="x" href="https://shop.test/?a=1&amp;b=2">Shop</a>
<a href='http://plain.test/'>Plain</a> <a href="mailto:us@ours.test">Us</a>
<a href="http://localhost:8000/unsubscribe/xyz">No more</a> <img src="https://shop.test/logo.png"></body></html>"""


@pytest.fixture(autouse=True)
def _no_limits_left():
    reset_limits()


@pytest.fixture
def message(workspace, jane):
    return Message.objects.create(
        workspace=workspace,
        contact=jane,
        key="1",
        channel="email",
        address="jane@example.test",
        body=HTML,
        status=Message.Status.SENT,
        sent_at=clock.now() - timedelta(minutes=5),
    )


def path(url):
    return url.removeprefix("http://localhost:8000")


def follow(url, **headers):
    return Client().get(path(url), **{**BROWSER, **headers})


def events_named(name):
    return list(Event.objects.filter(name=name, source="system").order_by("id"))


def test_an_e_mail_tells_by_its_image_and_links(message):
    html = add_tracking(message, ChannelSettings())

    links = re.findall(r'<a[^>]*href="([^"]*)"', html)
    assert [follow(link)["Location"] for link in links[:2]] == [TARGET, "http://plain.test/"]
    assert links[2:] == ["mailto:us@ours.test", "http://localhost:8000/unsubscribe/xyz"]
    assert 'src="https://shop.test/logo.png"' in html
    pixel = re.search(r'<img src="(http://localhost:8000/o/[^"]*)"[^>]*></body>', html).group(1)
    assert follow(pixel)["Content-Type"] == "image/gif"
    assert "/o/" in compose(message, ChannelSettings()).alternatives[0][0]


def test_a_test_and_who_wishes_so_get_it_as_it_is(message):
    assert add_tracking(message, ChannelSettings(options={"trackOpens": False, "trackClicks": False})) == HTML
    message.is_test = True
    assert add_tracking(message, ChannelSettings()) == HTML


def test_links_without_an_end_are_looked_through_at_once(message):
    message.body = "<a " * 4_000 + "x " * 400_000
    begun = real_time.thread_time()

    add_tracking(message, ChannelSettings())

    assert real_time.thread_time() - begun < 5


def test_clicks_on_several_links_at_once_are_a_machines(time, message):
    for target in (TARGET, "https://shop.test/2", "https://shop.test/3", TARGET):
        follow(click_url(message.id, target))

    clicks = events_named("message.click")
    assert [click.properties["url"] for click in clicks if not click.properties["isMachine"]] == [TARGET]
    assert len(clicks) == 4
    time.go(seconds=2)
    follow(click_url(message.id, "https://shop.test/2"))
    follow(click_url(message.id, "https://shop.test/2"))
    assert sum(not click.properties["isMachine"] for click in events_named("message.click")) == 3


def test_links_of_two_messages_are_followed_as_they_come(workspace, jane, message):
    other = Message.objects.get(pk=message.pk)
    other.pk, other.key = None, "2"
    other.id = ids.uuid7()
    other.save(force_insert=True)

    follow(click_url(message.id, TARGET))
    follow(click_url(other.id, "https://shop.test/2"))

    assert [click.properties["isMachine"] for click in events_named("message.click")] == [False, False]


def test_an_open_and_a_click_are_told_with_their_ids(workspace, jane, message):
    follow(open_url(message.id))
    message.refresh_from_db()
    assert message.status == "OPENED"
    first = message.opened_at
    follow(click_url(message.id, TARGET))
    follow(open_url(message.id))

    message.refresh_from_db()
    assert (message.status, message.opened_at) == ("CLICKED", first)
    assert message.clicked_at is not None
    opened, again = events_named("message.open")
    assert opened.contact_id == again.contact_id == jane.id
    assert opened.properties == {"messageId": str(message.id), "channel": "email", "isMachine": False}
    (click,) = events_named("message.click")
    assert click.properties["url"] == TARGET
    assert apply_effects(workspace.id) == "done"


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_USER_AGENT": "Mozilla/5.0"},
        {"HTTP_USER_AGENT": ""},
        {"HTTP_USER_AGENT": "Barracuda Sentinel (EE)"},
        {"HTTP_USER_AGENT": "python-requests/2.32"},
        {"HTTP_SEC_PURPOSE": "prefetch;prerender"},
    ],
)
def test_what_a_machine_does_is_marked_and_counts_for_nothing(message, headers):
    follow(open_url(message.id), **headers)
    assert follow(click_url(message.id, TARGET), **headers)["Location"] == TARGET

    message.refresh_from_db()
    assert (message.status, message.opened_at, message.clicked_at) == ("SENT", None, None)
    assert [
        event.properties["isMachine"]
        for event in (*events_named("message.open"), *events_named("message.click"))
    ] == [
        True,
        True,
    ]


MACHINES = """
Mozilla/5.0
Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)
Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/42.0 Safari/537.36 Edge/12.246 Mozilla/5.0
YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html
Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5
Barracuda Sentinel (EE)
Mozilla/5.0 (compatible; proofpoint; +https://proofpoint.test)
Mimecast/1.0
Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
Mozilla/5.0 (Linux; Android 6.0.1) Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)
Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)
TelegramBot (like TwitterBot)
Twitterbot/1.0
LinkedInBot/1.0 (compatible; Mozilla/5.0; +http://www.linkedin.com)
facebookexternalhit/1.1
Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)
WhatsApp/2.23.20.0
Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36
Go-http-client/1.1
axios/1.6
Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)
Microsoft Office Existence Discovery
Mozilla/5.0 (X11; Linux x86_64; Storebot-Google/1.0) AppleWebKit/537.36 Chrome/79.0 Safari/537.36
Google-HTTP-Java-Client/1.17.0-rc (gzip)
Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)
FeedFetcher-Google; (+http://www.google.com/feedfetcher.html)
TwinWaveScanner
Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.17763.1852
got (https://github.com/sindresorhus/got)
Typhoeus - https://github.com/typhoeus/typhoeus
LWP::Simple/6.00
Mozilla/5.0 zgrab/0.x
ELB-HealthChecker/2.0
Wheregoes.com Redirect Checker/1.0
Better Uptime Bot
"""
PEOPLE = """
Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Mobile Safari/537.36
Mozilla/5.0 (Linux; Android 7.0; CUBOT_NOTE_S Build/NRD90M; wv) AppleWebKit/537.36 Version/4.0 Chrome/64.0 Mobile
Mozilla/5.0 (Linux; Android 9; Cubot) Chrome/90.0 Mobile Safari/537.36 [FBAN/EMA;FBMF/CUBOT;FBDV/CUBOT 9]
Dalvik/2.1.0 (Linux; U; Android 9; CUBOT_P30 Build/PPR1.180610.011)
CUBOT KINGKONG MINI
Mozilla/5.0 (Linux; Android 12; Robotics Pad) AppleWebKit/537.36 Chrome/120.0 Safari/537.36
Mozilla/5.0 (Linux; Android 12; Abbot One) AppleWebKit/537.36 Chrome/120.0 Safari/537.36
Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148
Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36 Edg/120.0
Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.5000; ms-office; MSOffice 16)
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)
Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.0
Outlook-iOS/709.2226530.prod.iphone (3.24.1)
Airmail 5.0 rv:636 (Macintosh; Mac OS X 12.0; en_US)
Mozilla/4.0 (compatible; Lotus-Notes/6.0; Windows-NT)
Opera/9.80 (J2ME/MIDP; Opera Mini/5.1/22.414; U; en) Presto/2.5
Mozilla/5.0 (Linux; Android 6.0; CUBOT-DINOSAUR) Chrome/70 Mobile
Mozilla/5.0 (Linux; Android 8.1.0; CUBOT2018) Chrome/70 Mobile
"""


def _is_machine_s(agent):
    visit = tracking_events.Visit(clock.now(), agent)
    return tracking_events._is_machine(Message(sent_at=None), visit)


@pytest.mark.parametrize("agent", MACHINES.strip().splitlines())
def test_user_agents_of_machines_are_recognised(agent):
    assert _is_machine_s(agent)


@pytest.mark.parametrize("agent", PEOPLE.strip().splitlines())
def test_people_s_phones_and_programs_are_theirs(agent):
    assert not _is_machine_s(agent)


def test_an_open_within_two_seconds_is_a_machines(message):
    Message.objects.update(sent_at=clock.now())
    follow(open_url(message.id))
    assert [event.properties["isMachine"] for event in events_named("message.open")] == [True]


def test_no_link_of_ours_leads_where_we_did_not_say(message):
    good = path(click_url(message.id, TARGET)).removeprefix("/c/")
    other = path(click_url(message.id, "https://evil.test/")).removeprefix("/c/")
    forged = ":".join([*other.split(":")[:2], good.split(":")[2]])

    for token in (forged, good[:-1], "x", "https://evil.test/", token_for("open", message.id.hex)):
        answer = follow(f"/c/{token}")
        assert answer.status_code == 404
        assert "Location" not in answer
    assert follow("/o/x").status_code == 200
    assert not events_named("message.click")
    assert not events_named("message.open")


def test_a_message_tells_only_so_often(message):
    for _ in range(63):
        assert follow(open_url(message.id)).status_code == 200
    assert len(events_named("message.open")) == 60


def test_links_of_an_erased_person_lead_on_and_tell_nothing(workspace, jane, message):
    erase_person(workspace.id, jane)

    assert follow(click_url(message.id, TARGET))["Location"] == TARGET
    assert follow(open_url(message.id)).status_code == 200
    assert not Event.objects.filter(name__startswith="message.").exists()
    token = unsubscribe_token(workspace.id, jane.id, "email", message.id)
    assert Client().get(f"/unsubscribe/{token}").status_code == 404
    assert Client().post(f"/unsubscribe/{token}").status_code == 200


def test_one_click_unsubscribes_and_a_look_does_not(workspace, jane, message):
    url = f"/unsubscribe/{unsubscribe_token(workspace.id, jane.id, 'email', message.id)}"
    assert b"Unsubscribe" in Client().get(url).content
    assert get_contact(workspace.id, jane.id).subscribed

    client = Client(enforce_csrf_checks=True)
    for _ in range(2):
        answer = client.post(
            url, "List-Unsubscribe=One-Click", content_type="application/x-www-form-urlencoded"
        )
        assert answer.status_code == 200

    assert not get_contact(workspace.id, jane.id).subscribed
    assert len(events_named("contact.unsubscribed")) == 1
    message.refresh_from_db()
    assert message.status == "UNSUBSCRIBED"
    assert Client().post(url[:-1]).status_code == 404


def test_the_preference_page_keeps_what_is_ticked(workspace, jane):
    url = f"/preferences/{unsubscribe_token(workspace.id, jane.id, 'email', None)}"
    assert Client().get(url).content.count(b"checked") == 2

    answer = Client().post(url, {"channel": ["telegram"]})

    assert answer.content.count(b"checked") == 1
    contact = get_contact(workspace.id, jane.id)
    # What was ticked before and is left so is nothing that anybody said.
    assert (contact.consent("email"), contact.consent("telegram")) == ("opted_out", None)

    assert Client().post(url, {"channel": ["email", "telegram"]}).content.count(b"checked") == 2
    assert get_contact(workspace.id, jane.id).consent("email") == "opted_in"


def test_a_channel_that_asks_for_a_yes_is_not_ticked_before_it_is_said(workspace, jane):
    use_channel(workspace, "telegram", requires_opt_in=True)
    url = f"/preferences/{unsubscribe_token(workspace.id, jane.id, 'email', None)}"
    assert Client().get(url).content.count(b"checked") == 1

    Client().post(url, {"channel": ["email"]})
    assert get_contact(workspace.id, jane.id).consent("telegram") is None

    Client().post(url, {"channel": ["email", "telegram"]})
    assert get_contact(workspace.id, jane.id).consent("telegram") == "opted_in"


def test_programs_read_and_set_preferences(workspace, jane):
    token = unsubscribe_token(workspace.id, jane.id, "email", None)
    client = Client()

    assert client.get("/api/unsubscribe", {"token": token}).json() == {"channel": "email", "subscribed": True}
    assert client.post(f"/api/unsubscribe?token={token}").json() == {"channel": "email", "subscribed": False}
    url = f"/api/preferences?token={token}"
    assert client.get(url).json() == {"email": False, "telegram": True}
    put = client.put(url, {"email": True}, content_type="application/json")
    assert put.json() == {"email": True, "telegram": True}
    assert client.put(url, {"email": "yes"}, content_type="application/json").status_code == 400
    for bad in ("", "?token=x", "?token=%00"):
        assert client.get(f"/api/preferences{bad}").status_code in (400, 404)
