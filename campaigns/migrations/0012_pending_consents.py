import django.db.models.deletion
from django.db import migrations, models

import config.clock
import config.ids


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0011_lists_by_time"),
        ("contacts", "0006_erasures_in_chunks"),
        ("workspaces", "0002_allowed_origins"),
    ]

    operations = [
        migrations.AddField(
            model_name="formsubmission",
            name="asked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="PendingConsent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=config.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("channel", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(default=config.clock.now)),
                (
                    "contact",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="contacts.contact",
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="workspaces.workspace",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("workspace", "contact", "channel"), name="pending_consent_once"
                    )
                ],
            },
        ),
    ]
