"""What Django's models cannot say: partitions, a function that reads moments, numbers without a bound, statistics."""

from django.db import migrations

from events.stream.partitions import make_partitions

# The primary key begins with the workspace, so that the table can be sharded by it, and holds `id` because the
# table is partitioned on it.
PRIMARY_KEY = """
ALTER TABLE events_event DROP CONSTRAINT events_event_pkey;
ALTER TABLE events_event ADD PRIMARY KEY (workspace_id, id);
"""

CREATE_MOMENT = r"""
CREATE FUNCTION events_moment(value jsonb) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET timezone = 'UTC' AS $$
DECLARE
    spelled text;
BEGIN
    IF jsonb_typeof(value) = 'string' THEN
        spelled := value #>> '{}';
        IF length(spelled) <= 100 AND spelled ~
            '^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?([Zz]|[+-]\d\d(:?[0-5]\d)?))?)?$'
        THEN
            -- Fractions are cut to microseconds, where the cast would round them.
            RETURN regexp_replace(replace(upper(spelled), ',', '.'), '(\.\d{6})\d+', '\1')::timestamptz;
        END IF;
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$
"""

# An event may carry any number that JSON can spell; a bound here would be a reason to fail.
UNBOUNDED = """
ALTER TABLE events_contactaggregate
    ALTER COLUMN total TYPE numeric, ALTER COLUMN minimum TYPE numeric, ALTER COLUMN maximum TYPE numeric
"""

# A workspace that the statistics do not know yet would be taken for one without rows, and all of its rows be read in
# place of a few: without statistics on the column, every workspace is taken for a middling part of the table.
_TABLES = ["events_timer", "events_eventbatch", "events_contactaggregate"]
_SET = "ALTER TABLE {} ALTER COLUMN workspace_id SET STATISTICS {}"


def partition(apps, schema_editor):
    """Make the table of events anew, still empty, with the same columns and indexes, as one that has partitions."""
    model = apps.get_model("events", "Event")
    if model.objects.exists():
        raise RuntimeError("The table of events has rows: it is made anew only while it is empty.")
    schema_editor.delete_model(model)
    plain = schema_editor.sql_create_table
    schema_editor.sql_create_table = f"{plain} PARTITION BY RANGE (id)"
    schema_editor.create_model(model)
    schema_editor.sql_create_table = plain
    schema_editor.execute(PRIMARY_KEY)
    make_partitions()


class Migration(migrations.Migration):
    dependencies = [("events", "0001_initial")]

    operations = [
        migrations.RunPython(partition, migrations.RunPython.noop),
        migrations.RunSQL(CREATE_MOMENT, "DROP FUNCTION events_moment(jsonb)"),
        migrations.RunSQL(UNBOUNDED, migrations.RunSQL.noop),
        *(migrations.RunSQL(_SET.format(table, 0), _SET.format(table, -1)) for table in _TABLES),
    ]
