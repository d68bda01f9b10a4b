"""Say how a staged page is packed, so that another version does not misread it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0024_permission_uses"),
    ]

    operations = [
        migrations.AddField(
            model_name="stagedpage",
            name="format",
            field=models.CharField(db_default="", max_length=16),
        ),
    ]
