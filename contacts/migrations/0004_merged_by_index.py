import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Writers go on while the index is made.
    atomic = False

    dependencies = [
        ("contacts", "0003_merges"),
        ("workspaces", "0001_initial"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="contact",
            index=models.Index(
                fields=["workspace", "merged_into"],
                condition=models.Q(merged_into__isnull=False),
                name="contact_merged",
            ),
        ),
        migrations.AlterField(
            model_name="contact",
            name="merged_into",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="merged",
                to="contacts.contact",
            ),
        ),
    ]
