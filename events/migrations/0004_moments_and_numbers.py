"""What Django's fields cannot say: a function that reads moments out of JSON, numbers without a bound."""

from django.db import migrations

CREATE = r"""
CREATE FUNCTION events_moment(value jsonb) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET timezone = 'UTC' AS $$
BEGIN
    IF jsonb_typeof(value) = 'string' AND value #>> '{}' ~
        '^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$'
    THEN
        RETURN (value #>> '{}')::timestamptz;
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$
"""


# An event may carry any number that JSON can spell; a bound here would be a reason to fail.
UNBOUNDED = """
ALTER TABLE events_aggregate
    ALTER COLUMN total TYPE numeric, ALTER COLUMN minimum TYPE numeric, ALTER COLUMN maximum TYPE numeric
"""


class Migration(migrations.Migration):
    dependencies = [("events", "0003_timetable_and_aggregates")]

    operations = [
        migrations.RunSQL(CREATE, "DROP FUNCTION events_moment(jsonb)"),
        migrations.RunSQL(UNBOUNDED, migrations.RunSQL.noop),
    ]
