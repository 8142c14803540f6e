"""What members of staff do in the admin, by its own buttons, on a desk and on a telephone; no console complains."""

import json
from email.message import EmailMessage

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from campaigns.models import Broadcast, Campaign, Enrollment, SentEmail, Template
from contacts.models import Contact, ContactTag, Identifier, Merge, Tag
from segments.models import Membership, Segment
from tests.admin.rows import fill
from tests.browser.chromium import Chromium, needs_chromium
from tests.browser.test_policy import broken_in, wait_until
from tests.campaigns.admin.test_actions import DRAFT
from tests.segments.factories import attribute
from workspaces.models import Membership as WorkspaceMembership
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.django_db(transaction=True)]

WINDOWS = {"desk": (1440, 1000), "telephone": (390, 844)}
PRESS = """
const seen = [...document.querySelectorAll('button, a, input[type=submit]')].filter(one => one.checkVisibility());
const found = seen.find(one => (one.innerText || one.value || '').trim() === TEXT);
if (!found) return false;
found.click();
return true;
"""
WRITE = """
for (const [name, value] of Object.entries(VALUES)) {
  const field = document.querySelector(`#content [name="${name}"], form [name="${name}"]`);
  field.value = value;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.dispatchEvent(new Event('change', {bubbles: true}));
}
"""


class Desk:
    """A member of staff before a browser."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def open(self, page, *args, query=""):
        self.browser.open(self.address + reverse(f"admin:{page}", args=args) + query)

    def press(self, text):
        assert self.browser.run(PRESS.replace("TEXT", json.dumps(text))), f"There is no button {text}."

    def write(self, **values):
        self.browser.run(WRITE.replace("VALUES", json.dumps(values)))

    def sees(self, text):
        try:
            wait_until(self.browser, f"return document.body.innerText.includes({json.dumps(text)})")
        except AssertionError as error:
            shown = self.browser.run("return location.href + ' ' + document.querySelector('#main').innerText")
            raise AssertionError(f"{text} is not in {shown}") from error

    def answers(self, button):
        """Say yes on the page that asks."""
        wait_until(self.browser, "return document.querySelector('[name=confirmed]') !== null")
        self.press(button)

    def chooses(self, field, text):
        """Choose by typing into a look-up."""
        self.browser.run(f"django.jQuery('#{field}').select2('open')")
        self.browser.run(
            "const box = document.querySelector('.select2-search__field');"
            f"box.value = {json.dumps(text)}; box.dispatchEvent(new Event('input', {{bubbles: true}}))"
        )
        option = "[...document.querySelectorAll('.select2-results__option[aria-selected]')]"
        wait_until(self.browser, f"return {option}.length === 1")
        self.browser.run(
            f"{option}[0].dispatchEvent(new MouseEvent('mouseup', {{bubbles: true}}))",
        )
        wait_until(self.browser, f"return document.querySelector('#{field}').value !== ''")


@pytest.fixture
def workspace():
    workspace = Workspace.objects.create(name="Mill")
    fill(workspace, 3)
    return workspace


@pytest.fixture
def desk(request, live_server, workspace):
    role, window = request.param
    user = User.objects.create(username="member", is_staff=True)
    WorkspaceMembership.objects.create(workspace=workspace, user=user, role=role)
    client = Client()
    client.force_login(user)
    with Chromium() as browser:
        browser.size(*WINDOWS[window])
        browser.open(live_server.url + reverse("admin:login"))
        browser.cookie(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
        yield Desk(browser, live_server.url)
        assert not broken_in(browser)


def at(role, *windows):
    desks = [(role, window) for window in windows]
    return pytest.mark.parametrize("desk", desks, indirect=True, ids=windows)


@at("owner", "desk")
def test_an_owner_writes_a_rule_and_is_told_what_is_wrong_with_it(desk):
    desk.open("segments_segment_add")
    desk.write(name="Buyers", rule='{"type": "nothing"}')
    desk.press("Save")
    desk.sees("Please correct the error")
    assert desk.browser.run("return document.querySelector('[name=rule]').value").startswith("{")
    desk.write(rule=json.dumps(attribute("firstName", "eq", "Ada")))
    desk.press("Save")
    desk.sees("was added successfully")
    segment = Segment.objects.get(name="Buyers")
    desk.open("segments_segment_change", segment.pk)
    desk.sees("In words")
    desk.write(rule=json.dumps({"operator": "AND", "conditions": [segment.draft_rule or segment.rule] * 2}))
    desk.press("Save")
    desk.sees("was changed successfully")
    desk.open("scoring_scoringrule_add")
    condition = {"field": "metadata.amount", "operator": "gte", "value": 50}
    desk.write(name="Pays", event_name="paid", points="5", condition=json.dumps(condition))
    desk.press("Save")
    desk.sees("was added successfully")


@at("owner", "desk")
def test_an_owner_starts_a_campaign(desk, workspace):
    campaign = Campaign.objects.create(workspace=workspace, name="Welcome", draft=DRAFT)
    desk.open("campaigns_campaign_change", campaign.pk)
    desk.press("Activate")
    desk.answers("Activate")
    desk.sees("The campaign is activated.")
    desk.press("Start or try out")
    desk.sees("For one contact")
    desk.write(contact="a0@example.com")
    desk.press("Start for this contact")
    desk.answers("Start")
    desk.sees("The enrollment has begun")
    assert Enrollment.objects.filter(campaign=campaign).count() == 1
    segment = Segment.objects.create(workspace=workspace, name="Press", evaluation="STATIC")
    desk.open("campaigns_campaign_start", campaign.pk)
    desk.write(segment=str(segment.pk), at="2031-02-03T04:05")
    desk.press("Start for the segment")
    desk.answers("Start for the segment")
    desk.sees("2031-02-03 04:05:00")
    assert Broadcast.objects.get(campaign=campaign).due_at.year == 2031
    desk.open("campaigns_campaign_report", campaign.pk)
    desk.sees("Who did not enter, and why")
    desk.open("campaigns_campaign_change", campaign.pk)
    desk.press("Archive")
    wait_until(desk.browser, "return document.querySelector('[name=confirmed]') !== null")
    desk.press("No, go back")
    desk.sees("Start or try out")
    assert Campaign.objects.get(pk=campaign.pk).status == "ACTIVE"


@at("owner", *WINDOWS)
def test_an_owner_looks_things_up_and_picks_a_moment(desk, workspace):
    tag = Tag.objects.create(workspace=workspace, name="vip")
    ada = Contact.objects.filter(workspace=workspace).first()
    desk.open("contacts_contacttag_add")
    desk.chooses("id_contact", Identifier.objects.get(contact=ada).value)
    desk.chooses("id_tag", "vip")
    desk.press("Save")
    desk.sees("was added successfully")
    assert ContactTag.objects.filter(contact=ada, tag=tag).exists()
    desk.open("workspaces_apikey_add")
    desk.browser.run("document.querySelectorAll('.datetimeshortcuts a')[1].click()")
    wait_until(desk.browser, "return document.querySelector('.calendarbox td:not(.nonday) a') !== null")
    desk.browser.run("[...document.querySelectorAll('.calendarbox td:not(.nonday) a')].pop().click()")
    wait_until(desk.browser, "return document.querySelector('#id_expires_at_0').value !== ''")


@at("owner", "desk")
def test_an_owner_merges_two_of_a_list_and_fills_a_segment(desk, workspace):
    desk.open("contacts_contact_changelist")
    desk.browser.run(
        "[...document.querySelectorAll('[name=_selected_action]')].slice(0, 2).forEach(one => one.click())"
    )
    wait_until(desk.browser, "return document.querySelector('select[name=action]').checkVisibility()")
    desk.write(action="merge_chosen")
    wait_until(desk.browser, "return document.querySelector('button[name=index]').checkVisibility()")
    desk.press("Run")
    desk.answers("Merge")
    desk.sees("is part of")
    assert Merge.objects.filter(undone_at=None).count() == 1
    press = Segment.objects.create(workspace=workspace, name="Press", evaluation="STATIC")
    desk.open("segments_segment_members", press.pk, query="?q=a0@")
    desk.browser.run("document.querySelector('[name=chosen]').click()")
    desk.press("Put the chosen in")
    desk.sees("1 put in")
    assert Membership.objects.filter(segment=press).count() == 1


@at("viewer", *WINDOWS)
def test_a_viewer_reads_e_mails_as_they_look_and_finds_no_dead_button(desk, workspace):
    html = '<p>Hello</p><script>document.title = "broken"</script>'
    mail = EmailMessage()
    mail["Subject"] = "Hello"
    mail.set_content("Hello")
    mail.add_alternative(html, subtype="html")
    sent = SentEmail.objects.first()
    SentEmail.objects.filter(pk=sent.pk).update(source=bytes(mail))
    template = Template.objects.filter(channel="email").first()
    Template.objects.filter(pk=template.pk).update(subject="For {{ contact.email }}", body=html)

    def sees_the_frame():
        wait_until(desk.browser, "return document.querySelector('iframe[sandbox]') !== null")
        # Nothing runs in it, and the policy of the page is that of the frame.
        allowed = ("sandboxed", "script-src")
        assert not [one for one in broken_in(desk.browser) if not any(word in one for word in allowed)]

    desk.open("campaigns_sentemail_change", sent.pk)
    sees_the_frame()
    desk.open("campaigns_template_preview", template.pk)
    desk.write(contact="a0@example.com")
    desk.press("Preview")
    desk.sees("For a0@example.com")
    sees_the_frame()
    campaign = Campaign.objects.first()
    for page, row in (
        ("campaigns_campaign_change", campaign),
        ("segments_segment_change", Segment.objects.first()),
        ("contacts_contact_change", Contact.objects.first()),
    ):
        desk.open(page, row.pk)
        for button in ("Save", "Delete", "Activate", "Archive", "Start or try out"):
            assert not desk.browser.run(PRESS.replace("TEXT", json.dumps(button))), (page, button)


@at("viewer", *WINDOWS)
def test_a_viewer_turns_the_light_off(desk):
    desk.open("index")
    for theme in ("Dark", "Light"):
        desk.browser.run(
            "[...document.querySelectorAll('a, button')].find(one => one.innerText.includes("
            f"{json.dumps(theme)}) || one.textContent.trim().endsWith({json.dumps(theme)})).click()"
        )
        is_dark = json.dumps(theme == "Dark")
        wait_until(desk.browser, f"return document.documentElement.classList.contains('dark') === {is_dark}")
