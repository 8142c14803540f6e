"""Two tenants with a row of everything the admin has, and all ways into it; each row of the other one is marked."""

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.test import Client
from django.urls import URLPattern, URLResolver

from config import clock
from config.ids import uuid7
from contacts.models import Contact
from tests.admin.rows import fill
from tests.scale import IS_WHOLE
from workspaces.models import AuditEntry, Membership, User, Workspace
from workspaces.services import create_application, issue_api_key

MARK = "yonder-secret"
BEGINNING = MARK[:-1]
"""What is searched for and guessed: a page shows that again, and not the whole mark."""
UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def two_tenants() -> SimpleNamespace:
    """Make X and Y, people of both, and rows of all registered models in both."""
    own, other = (Workspace.objects.create(name=name) for name in ("Own", f"{MARK} workspace"))
    for workspace in (own, other):
        fill(workspace, 2)
        mark = MARK if workspace is other else "own"
        user = User.objects.create(username=f"{mark}-colleague", email=f"{mark}-colleague@example.com")
        Membership.objects.create(workspace=workspace, user=user, role="editor")
        issue_api_key(workspace.id, f"{mark} key")
        create_application(workspace.id, f"{mark} application")
        contact = Contact.objects.filter(workspace=workspace).first()
        assert contact
        entry = LogEntry.objects.create(
            user=user,
            action_flag=2,
            object_id=str(contact.pk),
            object_repr=f"{mark} entry",
            change_message=f"{mark} change",
            content_type=ContentType.objects.get_for_model(Contact),
        )
        AuditEntry.objects.create(workspace=workspace, entry=entry)
        for model, model_admin in admin.site._registry.items():
            rows = rows_of(model_admin, workspace)
            if not rows and model_admin.resource is not None:
                rows = [_made(model, workspace)]
            if workspace is other:
                _marked(model, rows)
    found = SimpleNamespace(own=own, other=other)
    found.rows = {
        workspace.pk: {model: rows_of(one, workspace) for model, one in admin.site._registry.items()}
        for workspace in (own, other)
    }
    found.others = {str(row.pk) for rows in found.rows[other.pk].values() for row in rows}
    return found


def rows_of(model_admin: Any, workspace: Workspace) -> list[Any]:
    """Return a workspace's rows of what an admin shows."""
    if model_admin.resource is None:
        return []
    return list(model_admin.in_workspaces(model_admin.model._default_manager.all(), [workspace.pk])[:2])


def somebody(workspace: Workspace | None, role: str, *, permissions: bool = False) -> Client:
    """Return a browser of a member of staff."""
    user = User.objects.create(username=f"own-{role or 'nobody'}-{uuid7()}", is_staff=True)
    if workspace:
        Membership.objects.create(workspace=workspace, user=user, role=role)
    if permissions:
        user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)
    return client


def leaked(response: Any, world: SimpleNamespace, sent: str = "") -> set[str]:
    """Return what of the other tenant a page tells, beside what was sent to it."""
    headers = " ".join(f"{value}" for value in response.headers.values())
    text = headers + response.content.decode("utf-8", "replace")
    found = {one for one in UUID_TEXT.findall(text) if one in world.others and one not in sent}
    return found | ({MARK} if MARK in text else set())


def addresses(world: SimpleNamespace, workspace: Workspace) -> Iterator[tuple[Any, str]]:
    """Return every address of a page that is about rows of a workspace, and the admin that it is of."""
    for model_admin, route in routes():
        names = _PARAMETER.findall(route)
        if not names:
            continue
        rows = [_row_for(world, workspace, model_admin, name) for name in names]
        if all(row is not None for row in rows):
            address = route
            for row in rows:
                address = _PARAMETER.sub(str(row.pk), address, count=1)
            yield model_admin, address


def routes() -> Iterator[tuple[Any, str]]:
    """Return every route of every registered admin, as Django has it."""
    for resolver in admin.site.get_urls():
        if not isinstance(resolver, URLResolver):
            continue
        for pattern in resolver.url_patterns:
            model_admin = _admin_at(str(resolver.pattern))
            if isinstance(pattern, URLPattern) and model_admin is not None and pattern.name is not None:
                yield model_admin, f"/admin/{resolver.pattern}{pattern.pattern}"


def checksums(workspace: Workspace | None = None) -> dict[str, Any]:
    """Return a checksum of each table but sessions and logs, of a workspace's rows alone if there is one."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table in ("django_session", "django_admin_log", "workspaces_auditentry"):
                continue
            columns = {
                column.name for column in connection.introspection.get_table_description(cursor, table)
            }
            where = ""
            if workspace is not None:
                of_people = {
                    "workspaces_workspace": f"id = '{workspace.pk}'",
                    "workspaces_user": "id IN (SELECT user_id FROM workspaces_membership"
                    f" WHERE workspace_id = '{workspace.pk}')",
                }
                own = f"workspace_id = '{workspace.pk}'" if "workspace_id" in columns else "false"
                where = f"WHERE {of_people.get(table, own)}"
            name = connection.ops.quote_name(table)
            cursor.execute(f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {name} t {where}")
            found[table] = cursor.fetchone()[0]
    return found


def some(values: list[Any], count: int) -> list[Any]:
    """Return a few, other ones each time; all of them in the whole proof."""
    return values if IS_WHOLE or len(values) <= count else random.sample(values, count)


def _admin_at(prefix: str) -> Any:
    for model, model_admin in admin.site._registry.items():
        if prefix == f"{model._meta.app_label}/{model._meta.model_name}/":
            return model_admin
    return None


def _row_for(world: SimpleNamespace, workspace: Workspace, model_admin: Any, name: str) -> Any:
    by_name = {model._meta.model_name: model for model in admin.site._registry}
    model = by_name.get(name.removesuffix("_id"), model_admin.model)
    rows = world.rows[workspace.pk][model]
    if name == "segment_id":
        # Some pages are of static segments alone.
        rows = sorted(rows, key=lambda row: row.evaluation != "STATIC")
    return rows[0] if rows else None


def _made(model: type[models.Model], workspace: Workspace) -> Any:
    """Make a row of a model that nobody thought of."""
    values = {
        field.name: _value(field, workspace)
        for field in model._meta.concrete_fields
        if not field.has_default() and not field.null and not isinstance(field, models.AutoField)
    }
    if model._meta.label == "oauth2_provider.AccessToken":
        # Both may be none, as far as the column goes.
        application = admin.site.get_model_admin(workspace.applications.model)
        values |= {"application": rows_of(application, workspace)[0]}
    (row,) = model._default_manager.bulk_create([model(**values)])
    return row


def _value(field: Any, workspace: Workspace) -> Any:
    if isinstance(field, models.ForeignKey):
        related = field.related_model
        if related is Workspace:
            return workspace
        return next(iter(rows_of(admin.site.get_model_admin(related), workspace)), None) or _made(
            related, workspace
        )
    if field.choices:
        return field.choices[0][0]
    match field:
        case models.UUIDField():
            return uuid7()
        case models.DateTimeField():
            return clock.now() + timedelta(days=1)
        case models.BooleanField():
            return False
        case models.IntegerField() | models.DecimalField():
            return 1
        case models.BinaryField():
            return uuid7().bytes * 2
        case models.JSONField():
            return {}
        case models.CharField() | models.TextField():
            return f"{uuid7()}"[: field.max_length]
        case _:
            return []


def _marked(model: Any, rows: list[Any]) -> None:
    """Write the mark into all free text of rows."""
    for number, row in enumerate(rows):
        values: dict[str, Any] = {}
        for field in model._meta.concrete_fields:
            if field.choices or field.is_relation or field.primary_key:
                continue
            longest = getattr(field, "max_length", None) or 255
            if isinstance(field, models.CharField | models.TextField) and longest >= len(MARK) + 20:
                if MARK not in str(getattr(row, field.name)):
                    at = "@example.com" if "@" in str(getattr(row, field.name)) else ""
                    values[field.name] = f"{MARK}-{number}{at}"
            elif isinstance(field, models.BinaryField) and field.max_length is None:
                values[field.name] = f"Subject: {MARK}\n\n{MARK}".encode()
            elif isinstance(field, models.JSONField) and field.name in ("properties", "attributes"):
                values[field.name] = {"told": MARK}
        if values:
            model._default_manager.filter(pk=row.pk).update(**values)
