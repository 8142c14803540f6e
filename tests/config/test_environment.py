"""The table of environment variables, what reads them, and docs/configuration.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.environment import GROUPS, VARIABLES, Computed, InvalidVariable, Variable, env

ROOT = Path(__file__).resolve().parents[2]
APPS = ("config", "workspaces", "contacts", "events", "scoring", "segments", "campaigns", "dialects")
# What touches the environment besides config.environment: it sets variables, or hands all of them on.
WRITERS = {
    "config/__init__.py": "sets DJANGO_SETTINGS_MODULE",
    "config/celery.py": "sets CELERY_SKIP_CHECKS",
    "config/observability/metrics/__init__.py": "sets PROMETHEUS_MULTIPROC_DIR for the library",
    "config/runtime/granian.py": "sets granian's options",
    "config/runtime/postgres/dumps.py": "hands it on to pg_dump and pg_restore",
    "config/runtime/supervisor.py": "hands it on to the programs",
}


def test_the_documentation_has_the_same_table() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    expected = {group: [shown(variable) for variable in variables] for group, variables in GROUPS.items()}
    documented = {
        title: re.findall(r"^\| `.*$", section, re.MULTILINE)
        for title, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    }
    assert {title: rows for title, rows in documented.items() if rows} == expected


def test_nothing_else_reads_the_environment() -> None:
    found = {path for path, tree in modules() for node in ast.walk(tree) if is_environment(node)}
    assert found == {"config/environment.py", *WRITERS}


def test_what_is_read_is_in_the_table_and_what_is_in_the_table_is_read() -> None:
    read = set()
    for path, tree in modules():
        for node in ast.walk(tree):
            if path == "config/environment.py" or not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in {
                "env",
                "_mailbox",
                "_secret",
                "_former_secrets",
                "_json_object",
            }:
                read |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    of_each_work = {
        name
        for name in VARIABLES
        if re.match("(WEB|INGEST|EFFECTS|BACKGROUND|COMMAND)_.*_(TIMEOUT|TRANSACTION)_SECONDS", name)
    }
    assert len(of_each_work) == 20
    # The settings read granian's threads; its patience only granian does.
    assert read | of_each_work | {"PROMETHEUS_MULTIPROC_DIR"} == VARIABLES.keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "80a"),
        ("PORT", "-1"),
        ("WEB_WAIT_SECONDS", "inf"),
        ("WEB_WAIT_SECONDS", "nan"),
        ("PRODUCTION", "maybe"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(InvalidVariable, match=name):
        env(name)


def test_values_are_of_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "a.test, b.test,")
    monkeypatch.setenv("PRODUCTION", "On")
    monkeypatch.setenv("WEB_WAIT_SECONDS", "0.5")
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("BROKER_QUEUE", "$queue")
    values = [
        env(name) for name in ("ALLOWED_HOSTS", "PRODUCTION", "WEB_WAIT_SECONDS", "PORT", "BROKER_QUEUE")
    ]
    assert values == [["a.test", "b.test"], True, 0.5, 8000, "$queue"]


def shown(variable: Variable) -> str:
    """Return the row that the documentation has of a variable."""
    default, unit = variable.default, variable.unit
    if isinstance(default, Computed):
        text = default.description
    elif isinstance(default, bool):
        text = "on" if default else "off"
    elif isinstance(default, int | float):
        text = f"{default:g}" if isinstance(default, float) else str(default)
    else:
        text = f"`{default}`" if default else "none"
    kind = unit or {bool: "on or off", str: "text", int: "number", list: "list"}[variable.type]
    return f"| `{variable.name}` | {text} | {kind} | {variable.meaning} |"


def modules() -> Iterator[tuple[str, ast.Module]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def is_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(name.name in {"environ", "getenv"} for name in node.names)
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id == "os" and node.attr in {"environ", "getenv"})
    )
