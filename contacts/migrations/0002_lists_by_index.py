from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

from contacts.texts import CREATE_PARTS, Parts, folded


class Migration(migrations.Migration):
    # Writers go on while the indexes of a big table are made.
    atomic = False

    dependencies = [
        ("contacts", "0001_initial"),
        ("workspaces", "0001_initial"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="contact",
            index=models.Index(
                fields=["workspace", "id"], include=["merged_into"], name="contact_sorted_by_id"
            ),
        ),
        AddIndexConcurrently(
            model_name="contact",
            index=models.Index(fields=["workspace", "updated_at", "id"], name="contact_sorted_by_change"),
        ),
        AddIndexConcurrently(
            model_name="contact",
            index=models.Index("workspace", folded("first_name"), "id", name="contact_sorted_by_first_name"),
        ),
        AddIndexConcurrently(
            model_name="contact",
            index=models.Index("workspace", folded("last_name"), "id", name="contact_sorted_by_last_name"),
        ),
        AddIndexConcurrently(
            model_name="contactscore",
            index=models.Index(fields=["workspace", "points", "contact"], name="contact_score_by_points"),
        ),
        AddIndexConcurrently(
            model_name="contacttag",
            index=models.Index(fields=["workspace", "tag", "contact"], name="contact_tag_by_tag"),
        ),
        migrations.RunSQL(CREATE_PARTS, "DROP FUNCTION contacts_parts"),
        AddIndexConcurrently(
            model_name="contact",
            index=GinIndex(
                Parts("workspace", "first_name"), Parts("workspace", "last_name"), name="contact_by_part"
            ),
        ),
        AddIndexConcurrently(
            model_name="identifier",
            index=GinIndex(Parts("workspace", "value"), name="identifier_by_part"),
        ),
        RemoveIndexConcurrently(model_name="contact", name="contact_by_id"),
        RemoveIndexConcurrently(model_name="contact", name="contact_by_last_name"),
    ]
