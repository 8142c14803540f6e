"""Find migrations that break the code before them, or lock large tables."""

from collections.abc import Iterator
from typing import Any

from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

RELEASED: dict[str, str] = {}
"""App → its last migration in the first release; only what comes after these is checked. Nothing is released yet."""
LARGE = {
    "contacts": {"contact", "identifier", "consent", "contacttag", "contactscore"},
    "events": {"event", "aggregate", "timer", "messagekey", "idempotencykey"},
    "scoring": {"scoreentry"},
    "segments": {"membership", "membershipperiod"},
    "campaigns": {"enrollment", "decision", "message"},
}
"""Models whose tables must not be locked for long."""
_GONE = (
    migrations.RemoveField,
    migrations.DeleteModel,
    migrations.RenameField,
    migrations.RenameModel,
    migrations.AlterModelTable,
)


def dangers(migration: migrations.Migration, before: ProjectState) -> list[str]:
    """Return how a migration breaks earlier code, or blocks others.

    `is_contraction` on the migration says why nothing that still runs uses what goes; `is_online` says of SQL
    and Python why it keeps nobody waiting.
    """
    found: list[str] = []
    state = before.clone()
    made: set[str] = set()
    for operation in _flat(migration.operations):
        if isinstance(operation, migrations.CreateModel):
            made.add(operation.name_lower)
        model = getattr(operation, "model_name_lower", None)
        is_large = model in LARGE.get(migration.app_label, set()) and model not in made
        found += _dangers(migration, operation, state, is_large=is_large, is_new=model in made)
        operation.state_forwards(migration.app_label, state)
    return [f"{migration.app_label}.{migration.name}: {problem}" for problem in found]


def _dangers(
    migration: migrations.Migration,
    operation: Operation,
    state: ProjectState,
    *,
    is_large: bool,
    is_new: bool,
) -> Iterator[str]:
    description = operation.describe()
    match operation:
        case _ if isinstance(operation, _GONE):
            if not getattr(migration, "is_contraction", ""):
                yield f"{description}: older code still uses it; say in is_contraction since when none does"
        case migrations.RunSQL() | migrations.RunPython():
            if not getattr(migration, "is_online", ""):
                yield f"{description}: say in is_online why nobody waits for it"
        case migrations.AddField(field=field) if not is_new:
            if not field.null and not field.has_db_default() and not field.many_to_many:
                yield f"{description}: rows of older code lack it; null=True or db_default"
        case migrations.AlterField(model_name=name, name=field_name, field=field):
            old = state.models[migration.app_label, name.lower()].fields[field_name]
            if old.null and not field.null:
                yield f"{description}: older code writes NULL"
            if _type_of(old) != _type_of(field):
                yield f"{description}: another type rewrites the table, and older code writes the former"
        # The concurrent ones are subclasses: only the plain ones hold the table.
        case migrations.AddIndex() | migrations.RemoveIndex() if is_large and type(operation) in _PLAIN:
            yield f"{description}: use AddIndexConcurrently or RemoveIndexConcurrently, with atomic = False"
        case migrations.AddConstraint(constraint=constraint) if is_large and type(operation) in _PLAIN:
            how = (
                "build its index concurrently before"
                if _is_unique(constraint)
                else "AddConstraintNotValid first"
            )
            yield f"{description}: {how}"
        case _:
            return


_PLAIN = (migrations.AddIndex, migrations.RemoveIndex, migrations.AddConstraint)


def _is_unique(constraint: Any) -> bool:
    return isinstance(constraint, models.UniqueConstraint)


def _type_of(field: Any) -> str | None:
    if field.remote_field is not None:
        return type(field).__name__
    kind = field.db_type(connection)
    return None if kind is None else str(kind)


def _flat(operations: Any) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, migrations.SeparateDatabaseAndState):
            yield from _flat(operation.database_operations)
        else:
            yield operation
