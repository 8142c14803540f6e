from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0013_levels_of_runs"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="decision",
            name="decision_by_campaign",
        ),
        migrations.RemoveIndex(
            model_name="message",
            name="message_by_provider",
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(
                condition=models.Q(("campaign__isnull", False)),
                fields=["workspace", "campaign", "id"],
                name="decision_by_campaign",
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("provider_id", ""), _negated=True),
                fields=["workspace", "provider_id"],
                name="message_by_provider",
            ),
        ),
    ]
