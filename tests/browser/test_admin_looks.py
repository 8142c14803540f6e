"""The admin can be read: by a screen reader, in the dark, on a telephone, whatever senders write."""

import json
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from campaigns.models import Campaign, Decision, Enrollment, Message, SentEmail, Template
from config import clock
from contacts.models import Contact, ContactScore, Identifier, Import, RefusedRow
from events.models import Event, EventDefinition
from segments.models import Segment
from tests.admin.rows import fill, lines
from tests.browser.chromium import Chromium, needs_chromium
from tests.scale import IS_WHOLE
from workspaces.models import User, Workspace

HERE = Path(__file__).parent
WIDE, NARROW = (1440, 1000), (390, 844)
UNBROKEN = "https://shop.example/" + "a-very-long-path-without-any-space" * 12
SERIOUS = """
const done = arguments[arguments.length - 1];
axe.run(document, OPTIONS).then(found => done(found.violations
  .filter(one => ["serious", "critical"].includes(one.impact) || MODERATE.includes(one.id))
  .map(one => one.id + ": " + one.nodes.slice(0, 5).map(node => node.html.slice(0, 250)).join(" | "))));
""".replace("MODERATE", '["landmark-one-main", "heading-order", "page-has-heading-one", "label"]')
# Style sheets are loaded for a rule that is none of these.
OPTIONS = {"resultTypes": ["violations"], "preload": False}
# Without the one that axe leaves out by itself.
COLOURS = {
    **OPTIONS,
    "runOnly": {"type": "tag", "values": ["cat.color"]},
    "rules": {"color-contrast-enhanced": {"enabled": False}},
}
TURN_DARK = """
const ground = () => getComputedStyle(document.body).backgroundColor;
const light = ground();
document.documentElement.classList.add("dark");
document.getAnimations().forEach(one => one.finish());
return ground() !== light;
"""
# What reaches over the window's edge, and lies in nothing that scrolls by itself.
OVER_THE_EDGE = """
const width = document.documentElement.clientWidth;
const scrolls = one => one && one !== document.body && (
  ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
return [...document.querySelectorAll("body *")]
  .filter(one => one.checkVisibility() && one.getBoundingClientRect().right > width + 1)
  .filter(one => !scrolls(one.parentElement))
  .slice(0, 5).map(one => one.outerHTML.slice(0, 250));
"""

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="session")
def axe():
    """Install axe-core, once for each version of it, outside the repository; return its script."""
    if not shutil.which("npm"):
        pytest.skip("npm is not on this machine, and axe-core comes by it")
    home = Path(settings.HEADRACE_HOME) / "test-axe"
    script = home / "node_modules" / "axe-core" / "axe.min.js"
    manifest = (HERE / "package.json").read_text()
    if not script.exists() or (home / "package.json").read_text() != manifest:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "package.json", home)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(
            command, cwd=home, capture_output=True, text=True, timeout=180, check=False
        )
        if installed.returncode:
            pytest.skip(f"npm could not install axe-core: {installed.stderr.strip()[-300:]}")
    return script.read_text()


@pytest.fixture
def pages(live_server):
    """Return the main pages by name, of a site where senders wrote long things without a space."""
    workspace = Workspace.objects.create(name="Mill")
    rows = fill(workspace, 4)
    contact = rows.contacts[0]
    lines(workspace, contact, rows.rules[0], 3)
    ContactScore.objects.filter(contact=contact).update(points=47)
    Contact.objects.filter(pk=contact.pk).update(last_name="L" * 120, attributes={"page": UNBROKEN})
    Identifier.objects.filter(contact=contact).update(value=f"{'a' * 60}@{'long-domain.' * 10}example")
    Event.objects.filter(pk=rows.events[0].pk).update(properties={"page": UNBROKEN})
    EventDefinition.objects.filter(name="e0").update(description=UNBROKEN)
    Message.objects.update(subject=UNBROKEN, body=UNBROKEN, text=UNBROKEN, error=UNBROKEN)
    SentEmail.objects.update(subject=UNBROKEN, recipients=[f"{'b' * 60}@{'long-domain.' * 10}example"])
    Segment.objects.filter(name="s0").update(name="S" * 120, error=UNBROKEN)
    Campaign.objects.filter(name="c0").update(name="C" * 120, error=UNBROKEN, activated_at=clock.now())
    Decision.objects.update(reason="webhook_refused", detail={"url": UNBROKEN})
    Enrollment.objects.update(ended_at=clock.now() - timedelta(hours=1))
    press = Segment.objects.create(workspace=workspace, name="Press", evaluation="STATIC")
    run = Import.objects.filter(workspace=workspace).first()
    Import.objects.update(origin="api", name="I" * 120, error=UNBROKEN, refused=1, refused_bytes=1, size=9)
    RefusedRow.objects.update(run=run, cause=UNBROKEN)
    segment, campaign = Segment.objects.get(name="S" * 120), Campaign.objects.get(name="C" * 120)

    def of(page, *args):
        return reverse(f"admin:{page}", args=args)

    paths = {
        "home": of("index"),
        "contacts": of("contacts_contact_changelist"),
        "contact": of("contacts_contact_change", contact.pk),
        "contact-add": of("contacts_contact_add"),
        "import": of("contacts_import_change", run.pk),
        "import-add": of("contacts_import_add"),
        "events": of("events_event_changelist"),
        "event": of("events_event_change", rows.events[0].pk),
        "definition": of("events_eventdefinition_change", EventDefinition.objects.get(name="e0").pk),
        "rules": of("scoring_scoringrule_changelist"),
        "rule": of("scoring_scoringrule_change", rows.rules[0].pk),
        "ledger": of("scoring_scoreentry_changelist"),
        "segments": of("segments_segment_changelist"),
        "segment": of("segments_segment_change", segment.pk),
        "explanation": of("segments_segment_explanation", segment.pk, contact.pk),
        "campaigns": of("campaigns_campaign_changelist"),
        "campaign": of("campaigns_campaign_change", campaign.pk),
        "report": of("campaigns_campaign_report", campaign.pk),
        "start": of("campaigns_campaign_start", campaign.pk),
        "decisions": of("campaigns_decision_changelist"),
        "trace": of("campaigns_trace", rows.events[0].pk),
        "messages": of("campaigns_message_changelist"),
        "message": of("campaigns_message_change", Message.objects.first().pk),
        "preview": of("campaigns_template_preview", Template.objects.first().pk),
        "inbox": of("campaigns_sentemail_changelist"),
        "members": of("segments_segment_members", press.pk),
        "issue-key": of("workspaces_apikey_add"),
    }
    return {name: live_server.url + path for name, path in paths.items()}


@pytest.fixture
def browser(live_server):
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
    with Chromium() as browser:
        browser.open(live_server.url + reverse("admin:login"))
        browser.cookie(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
        yield browser


def ask(browser):
    """Go on from the list of contacts to the page that asks before they are erased."""
    browser.run(
        "const form = document.querySelector('#changelist-form');"
        "form.querySelector('[name=_selected_action]').checked = true;"
        "form.querySelector('[name=action]').value = 'erase_chosen'; form.submit()"
    )
    for _ in range(100):
        if browser.run("return document.querySelector('[name=confirmed]') !== null"):
            return
        time.sleep(0.1)
    raise AssertionError("It does not ask.")


def walk(browser, pages):
    """Open each page, and the one that asks; return their names one by one."""
    for name, url in [*pages.items(), ("confirmation", pages["contacts"])]:
        browser.open(url)
        if name == "confirmation":
            ask(browser)
        if IS_WHOLE:
            shot = f"{name}-{browser.run('return innerWidth')}.png"
            browser.screenshot(Path(settings.HEADRACE_HOME) / "screenshots" / shot)
        yield name


def too_wide(browser):
    """Return by how much a page is wider than its window, and what reaches over the edge."""
    width = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    over = browser.run(OVER_THE_EDGE)
    return (width, over) if width > 0 or over else None


def test_nothing_serious_stands_in_a_readers_way_and_no_page_is_wider_than_its_window(browser, pages, axe):
    """The dark is another set of colours: what else there is to read is the same."""
    browser.size(*WIDE)
    browser.open(pages["home"])
    browser.run("localStorage.setItem('adminTheme', JSON.stringify('light'))")
    found = {}
    for name in walk(browser, pages):
        found[name, "width"] = too_wide(browser)
        assert not browser.run("return document.documentElement.classList.contains('dark')")
        browser.run(axe)
        found[name, "light"] = browser.wait_for(SERIOUS.replace("OPTIONS", json.dumps(OPTIONS)))
        assert browser.run(TURN_DARK)
        found[name, "dark"] = browser.wait_for(SERIOUS.replace("OPTIONS", json.dumps(COLOURS)))
    assert not [(*place, complaint) for place, complaint in found.items() if complaint]


def test_no_page_is_wider_than_a_telephone(browser, pages):
    browser.size(*NARROW)
    found = {name: too_wide(browser) for name in walk(browser, pages)}
    assert not {name: wide for name, wide in found.items() if wide}


def test_an_imports_page_follows_how_far_it_is(browser, pages):
    browser.open(pages["import"])
    shown = "return document.getElementById('import-progress').innerText"
    assert "1,234,567 rows decided" not in browser.run(shown)
    Import.objects.update(recorded=1_234_566, status="done")
    deadline = time.monotonic() + 20
    while "1,234,567 rows decided" not in (text := browser.run(shown)):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    assert browser.run("return document.getElementById('import-progress').dataset.open") is None
