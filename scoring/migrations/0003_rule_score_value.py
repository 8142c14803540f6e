from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scoring", "0002_statistics")]

    operations = [
        migrations.RenameField("rulescore", "folded", "value"),
        migrations.AlterField(
            "scoringrule",
            "rescore_reevaluates",
            models.BooleanField(
                default=False,
                editable=False,
                help_text="whether events are evaluated again, not only the ledger added up",
            ),
        ),
    ]
