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

WITHOUT_QUERYSET = {
    "workspaces.Application": "the OAuth library's manager",
    "events.RulesVersion": "its key is the workspace",
}

ALLOWED = {
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
    assert set(_filters_by_hand()) == set(ALLOWED)


def _filters_by_hand() -> Iterator[str]:
    for path in sorted(path for app in APPS for path in (ROOT / app).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and ast.unparse(call.func).split(".")[-1] in {"filter", "exclude", "get", "Q"}
                and {keyword.arg for keyword in call.keywords} & {"workspace", "workspace_id"}
            ):
                yield f"{path.relative_to(ROOT)}: {ast.unparse(call.func)}"
