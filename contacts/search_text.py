"""Indexed text search on names and identifiers: prefixes and substrings, independent of collation."""

from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import F, Func, Lookup, QuerySet, TextField, UUIDField, Value
from django.db.models.functions import Collate, Upper

# Sorts after every character that a text goes on with.
LAST_CHARACTER = "\U0010ffff"
PART_LENGTH = 3


def folded(text: Any) -> Collate:
    """Return the expression for a column in upper case, ordered by code points: so a beginning is a range."""
    return Collate(Upper(text), "C")


class BeginsWith(Lookup):
    """Whether a folded text begins with another, in any case: a range of an index."""

    lookup_name = "begins_with"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the range; the database itself brings the beginning into upper case, as it did the text."""
        text, parameters = self.process_lhs(compiler, connection)
        start = "UPPER(%s::text)"
        return (
            f"({text} >= {start} AND {text} < {start} || %s::text)",
            (*parameters, self.rhs, *parameters, self.rhs, LAST_CHARACTER),
        )


def begins_with(column: str, text: str) -> BeginsWith:
    """Return the condition that a column begins with a text, in any case."""
    return BeginsWith(folded(F(column)), text)


class Parts(Func):
    """Every three characters in a row of a workspace's text, in upper case; none of a shorter one."""

    function = "contacts_parts"
    output_field = ArrayField(TextField())


# Each part carries the beginning of its workspace's id: so one tenant's search reads no other's postings. A loop
# takes a fifth of what a query over generate_series does, and every name and identifier that is written passes here.
CREATE_PARTS = f"""
CREATE FUNCTION contacts_parts(workspace uuid, value text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    folded text := upper(value);
    beginning text := left(workspace::text, 18);
    parts text[] := '{{}}';
BEGIN
    FOR place IN 1 .. length(folded) - {PART_LENGTH - 1} LOOP
        parts := parts || (beginning || substr(folded, place, {PART_LENGTH}));
    END LOOP;
    RETURN parts;
END
$$
"""


def with_parts(rows: QuerySet[Any], workspace_id: UUID, column: str, text: str) -> QuerySet[Any]:
    """Leave the rows of a workspace whose column has all parts of a text, which needs three characters.

    They need not be in the text's order: whoever wants the text itself filters once more.
    """
    wanted = Parts(Value(workspace_id, output_field=UUIDField()), Value(text))
    found: QuerySet[Any] = (
        rows.alias(parts=Parts("workspace_id", column))
        .in_workspace(workspace_id)
        .filter(parts__contains=wanted)
    )
    return found
