"""Tenancy: every model with a workspace has the tenant queryset, and the code filters by workspace through it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps

from workspaces.tenancy import TenantQuerySet

ROOT = Path(__file__).parents[2]
APPS = ["workspaces", "contacts", "events", "scoring", "segments", "campaigns", "dialects", "config"]
MODELS = [model for app in APPS if apps.is_installed(app) for model in apps.get_app_config(app).get_models()]
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for app in APPS
    for path in sorted((ROOT / app).rglob("*.py"))
}

WITHOUT_QUERYSET = {
    "workspaces.Application": "the OAuth library's manager",
    "events.RulesVersion": "its key is the workspace",
}

FILTERS_BY_HAND = {
    "workspaces/tenancy.py: self.filter": "the base",
    "contacts/crud.py: Contact.objects.filter(id=contact_id).exclude": "asks for the contact of another workspace",
    "contacts/erasure/erasures.py: model._base_manager.filter": "leaves out nothing that a manager leaves out",
}
"""By file and what is called: why it filters by hand."""


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_a_model_with_a_workspace_has_the_tenant_queryset(model):
    has_workspace = any(field.name == "workspace" for field in model._meta.get_fields())
    expected = has_workspace and model._meta.label not in WITHOUT_QUERYSET
    assert isinstance(model._default_manager.all(), TenantQuerySet) == expected


def test_no_code_filters_by_workspace_by_hand():
    found = {f"{path}: {called}" for path, tree in TREES.items() for called in _filters_by_hand(tree)}
    assert found == set(FILTERS_BY_HAND)


def test_no_function_takes_a_workspace_to_read_only_its_id():
    assert [f"{path}: {name}" for path, tree in TREES.items() for name in _needless_rows(tree)] == []


@pytest.mark.parametrize(
    ("source", "filters", "rows"),
    [
        ("Event.objects.filter(name='x', workspace_id=workspace.id)", ["Event.objects.filter"], []),
        ("rows.exclude(workspace=workspace)", ["rows.exclude"], []),
        ("rows.get(models.Q(workspace=workspace))", ["models.Q"], []),
        ("rows.in_workspace(workspace.id).create(workspace_id=workspace.id)", [], []),
        ("def f(workspace: Workspace): g(workspace.id, workspace.pk)", [], ["f"]),
        ("def f(workspace: Workspace): g(workspace.id, workspace.name)", [], []),
        ("def f(workspace: Workspace): g(workspace, workspace.id)", [], []),
    ],
)
def test_what_is_looked_for_is_found(source, filters, rows):
    tree = ast.parse(source)
    assert list(_filters_by_hand(tree)) == filters
    assert list(_needless_rows(tree)) == rows


def _filters_by_hand(tree: ast.Module) -> Iterator[str]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and {word.arg for word in call.keywords} & {
            "workspace",
            "workspace_id",
        }:
            called = ast.unparse(call.func)
            if called.split(".")[-1] in {"filter", "exclude", "get", "Q"}:
                yield called


def _needless_rows(tree: ast.Module) -> Iterator[str]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            arguments = [*function.args.args, *function.args.kwonlyargs]
            takes_row = "workspace: Workspace" in map(ast.unparse, arguments)
            if takes_row and not _reads_more_than_the_id(function):
                yield function.name


def _reads_more_than_the_id(function: ast.FunctionDef) -> bool:
    nodes = list(ast.walk(function))
    of_ids = [node.value for node in nodes if isinstance(node, ast.Attribute) and node.attr in {"id", "pk"}]
    return any(isinstance(node, ast.Name) and node.id == "workspace" and node not in of_ids for node in nodes)
