"""What the admin's pages say is spelled as people spell: a space after a comma and a colon, one full stop."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.urls import reverse

from campaigns.models import Campaign, Decision
from config import clock
from events.models import Timer
from segments.models import Segment
from tests.admin.confirming import is_asking, post_and_confirm
from tests.admin.test_every_page import REGISTERED, url_of

# Two full stops, a comma or a colon with a word right behind it, a space before them.
WRONG = re.compile(r"(?<!\.)\.\.(?!\.)|[a-z\d)][,:][A-Za-z]|\w +[,.;:](?:\s|$)|\(\s|\s\)")
# Times, addresses, and what names culprits and scopes.
MEANT = re.compile(r"\d\d:\d\d(:\d\d)?|https?:\S+|\S+@\S+|[\w-]+:<[\w ]+>|\b[a-z_.]+:[a-z_]+ ·")
_SILENT = {"script", "style", "textarea", "pre", "code", "title"}
_INLINE = {"a", "span", "strong", "b", "em", "i"}


class Spoken(HTMLParser):
    """The texts of a page as they stand in a line, block by block.

    In a container that sets its children side by side, the spaces between texts and elements are gone.
    """

    def __init__(self):
        super().__init__()
        self.lines, self._stack, self._line = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag in ("br", "input", "img", "link", "meta", "hr", "path"):
            return
        if tag not in _INLINE:
            self._end_line()
        classes = (dict(attributes).get("class") or "").split()
        self._stack.append((tag, "flex" in classes))

    def handle_endtag(self, tag):
        if tag not in _INLINE:
            self._end_line()
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, text):
        if any(tag in _SILENT for tag, _ in self._stack):
            return
        if self._stack and self._stack[-1][1]:
            text = text.strip()
        self._line += text

    def _end_line(self):
        if line := re.sub(r"\s+", " ", self._line).strip():
            self.lines.append(line)
        self._line = ""


def wrong_in(response):
    page = Spoken()
    page.feed(response.text)
    lines = [MEANT.sub("", line) for line in page.lines]
    return [line for line in lines if WRONG.search(line)]


@pytest.fixture
def told(workspace, rows):
    """Make rows such as pages have something to say of."""
    Decision.objects.update(reason="capped", detail={"until": "tomorrow", "limit": 3})
    Segment.objects.filter(name="s0").update(name="Big spenders (30 days)")
    Segment.objects.filter(name="s1").update(name="Sleepers")
    Segment.objects.filter(name="s2").update(error="Too slow", parked_at=clock.now())
    Timer.objects.create(
        workspace=workspace,
        contact_id=rows.contacts[0].pk,
        timer_key=rows.rules[0].pk,
        lane=1,
        due_at=clock.now() + timedelta(days=1),
    )
    return rows


def pages(rows):
    for model in REGISTERED:
        yield url_of(model, "changelist")
        for row in model._default_manager.all()[:2]:
            yield url_of(model, "change", row.pk)
            yield url_of(model, "history", row.pk)
    segment, campaign = Segment.objects.first(), Campaign.objects.first()
    yield reverse("admin:segments_segment_explanation", args=[segment.pk, rows.contacts[1].pk])
    yield reverse("admin:campaigns_campaign_report", args=[campaign.pk])
    yield reverse("admin:campaigns_campaign_start", args=[campaign.pk])
    yield reverse("admin:campaigns_trace", args=[rows.events[0].pk])


def test_the_first_page_and_the_menu_are_spelled(staff, told):
    assert not wrong_in(staff.get(reverse("admin:index")))


@pytest.mark.usefixtures("empty_sidebar")
def test_pages_are_spelled(staff, told):
    wrong = {page: found for page in pages(told) if (found := wrong_in(staff.get(page)))}
    assert not wrong


@pytest.mark.usefixtures("empty_sidebar")
def test_forms_are_spelled(staff, told):
    wrong = {}
    for model in REGISTERED:
        if not admin.site._registry[model].has_add_permission(staff.get("/admin/").wsgi_request):
            continue
        page = url_of(model, "add")
        for response in (staff.get(page), staff.post(page, {})):
            if found := wrong_in(response):
                wrong[page] = found
    assert not wrong


@pytest.mark.usefixtures("empty_sidebar")
def test_what_actions_ask_and_answer_is_spelled(staff, told):
    wrong = {}
    for model in REGISTERED:
        listed = url_of(model, "changelist")
        request = staff.get(listed).wsgi_request
        for action in admin.site._registry[model].get_actions(request):
            chosen = [str(row.pk) for row in model._default_manager.all()[:2]]
            body = {"action": action, "_selected_action": chosen}
            asked = staff.post(listed, body)
            for response in (asked, post_and_confirm(staff, listed, body, follow=True)):
                if found := wrong_in(response) if response.status_code == 200 else []:
                    wrong[listed, action, is_asking(response)] = found
    assert not wrong


def test_the_others_of_a_contacts_segments_are_a_list_in_words(staff, told):
    page = Spoken()
    page.feed(staff.get(url_of(type(told.contacts[2]), "change", told.contacts[2].pk)).text)
    assert "Why not in: Big spenders (30 days), Sleepers" in page.lines
