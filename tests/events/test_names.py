"""The names of system events are written in one file; all other code uses its constants."""

import ast
import re
from pathlib import Path

import pytest

from events import names
from tests.docs.pages import ROOT

APPS = ("config", "workspaces", "contacts", "events", "scoring", "segments", "campaigns", "dialects")
NAMES = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names.SYSTEM_EVENTS)))
# There, `contact.` is also how the path of a body's field begins.
PATHS_OF_FIELDS = "dialects"


def literals_in(source: str, *, with_prefixes: bool) -> list[str]:
    """Return the texts of a module that name system events; what it says in docstrings aside."""
    tree = ast.parse(source)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and (NAMES.search(node.value) or (with_prefixes and node.value in names.SYSTEM_PREFIXES))
    ]


@pytest.mark.parametrize("app", APPS)
def test_code_takes_the_names_of_system_events_from_their_file(app):
    found = {
        f"{path.relative_to(ROOT)}: {literal}"
        for path in sorted(Path(ROOT, app).rglob("*.py"))
        if "migrations" not in path.parts and path != ROOT / "events/names.py"
        for literal in literals_in(path.read_text(), with_prefixes=app != PATHS_OF_FIELDS)
    }
    assert found == set()


def test_a_literal_is_found_wherever_it_stands():
    sources = ('x == "message.sent"', "SQL = \"SELECT … name = 'form.submitted'\"", 'f"contact.{kind}"')
    assert all(literals_in(source, with_prefixes=True) for source in sources)
    assert literals_in('"""Records `contact.created`."""\nx = "contact.name"', with_prefixes=True) == []


def test_every_name_of_the_file_is_a_system_event():
    constants = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    assert constants == names.SYSTEM_EVENTS | set(names.SYSTEM_PREFIXES)
    assert all(name.startswith(names.SYSTEM_PREFIXES) for name in names.SYSTEM_EVENTS)
