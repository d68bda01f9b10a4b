"""Remember which announcement of its end a credential had last."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("directory", "0009_registrations_without_credential_columns")]

    operations = [
        migrations.AddField(
            model_name="applicationcredential",
            name="announced_days",
            field=models.PositiveSmallIntegerField(null=True),
        ),
    ]
