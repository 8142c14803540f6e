from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0002_statistics")]

    operations = [migrations.RenameField("campaign", "version", "active_version")]
