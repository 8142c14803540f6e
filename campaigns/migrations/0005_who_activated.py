from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0004_trials_of_drafts")]

    operations = [
        migrations.AddField(
            "campaignversion",
            "by",
            models.CharField(
                blank=True,
                db_default="",
                editable=False,
                help_text="who let it serve, or tried it out",
                max_length=255,
            ),
        ),
    ]
