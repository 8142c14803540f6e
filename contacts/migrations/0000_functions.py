"""The function that indexes of names use: it is there before they are."""

from django.db import migrations

from contacts.search_text import CREATE_PARTS


class Migration(migrations.Migration):
    dependencies = []

    operations = [migrations.RunSQL(CREATE_PARTS, "DROP FUNCTION contacts_parts")]
