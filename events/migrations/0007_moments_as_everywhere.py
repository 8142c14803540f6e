"""The database reads the moments that `config.moments` does: small letters, leap seconds, 24:00, long fractions."""

from django.db import migrations

CREATE = r"""
CREATE OR REPLACE FUNCTION events_moment(value jsonb) RETURNS timestamptz
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


class Migration(migrations.Migration):
    dependencies = [("events", "0006_event_by_cause")]

    operations = [migrations.RunSQL(CREATE, migrations.RunSQL.noop)]
