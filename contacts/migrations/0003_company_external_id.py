"""Companies of another system are found by its id of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("contacts", "0002_imports")]

    operations = [
        migrations.AddField(
            model_name="company",
            name="external_id",
            field=models.CharField(blank=True, help_text="of another system; empty: none", max_length=255),
        ),
        migrations.AddConstraint(
            model_name="company",
            constraint=models.UniqueConstraint(
                condition=models.Q(("external_id", ""), _negated=True),
                fields=("workspace", "external_id"),
                name="company_external_id_unique",
            ),
        ),
    ]
