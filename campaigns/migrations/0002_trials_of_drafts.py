from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0001_initial")]

    operations = [
        migrations.AddField("run", "skips_waits", models.BooleanField(db_default=False, default=False)),
        migrations.AlterField("campaignversion", "number", models.PositiveIntegerField(null=True)),
    ]
