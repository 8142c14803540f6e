"""What the documents say holds: links lead somewhere, rules and campaigns are valid, commands and routes exist."""

import json
import re

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from campaigns.journeys.definition.parser import parse_definition
from events.rules.parser import parse_rule
from tests.docs.pages import PAGES, ROOT, blocks, name_of

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"manage\.py ([a-z_]+)((?:[^\n`;|]*\\\n)*[^\n`;|]*)")
_ROUTE = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/?[a-z][A-Za-z0-9/{}_.-]*)")
_NATIVE = ("/api/workspaces/w/", "/api/", "/")


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", title.lower().replace("`", "")).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in _LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert anchor in map(_anchor, titles), link


@pytest.mark.parametrize("block", blocks("json", "rule"), ids=lambda block: name_of(block.page))
def test_rules_are_valid(block):
    parse_rule(json.loads(block.text))


@pytest.mark.parametrize("block", blocks("json", "condition"), ids=lambda block: name_of(block.page))
def test_conditions_on_an_event_are_valid(block):
    parse_rule(json.loads(block.text), about_event="purchase")


@pytest.mark.parametrize("block", blocks("json", "campaign"), ids=lambda block: name_of(block.page))
def test_campaigns_are_valid(block):
    parse_definition(json.loads(block.text))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_with_their_options(page):
    commands = get_commands()
    for name, rest in _COMMAND.findall(page.read_text()):
        assert name in commands, name
        app = commands[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        known = command.create_parser("manage.py", name)._option_string_actions
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest):
            assert option in known, f"{name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_routes_exist(page):
    if page.parent.parent.name == "dialects":
        return
    for method, path in _ROUTE.findall(page.read_text()):
        wanted = re.sub(r"\{[^}]*\}", "x", path.rstrip(".").replace("{provider}", "postmark"))
        assert any(_is_route(prefix + wanted.lstrip("/")) for prefix in _NATIVE), f"{method} {path}"


def _is_route(path: str) -> bool:
    try:
        match = resolve(path)
    except Resolver404:
        return False
    view = getattr(match.func, "cls", getattr(match.func, "view_class", None))
    return view is None or not view.__name__.startswith(("NoSuchRoute", "UnknownRoute"))


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text() + (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
