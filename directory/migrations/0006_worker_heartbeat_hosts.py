from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0005_cloud_idp_ids_from_1001_again"),
    ]

    operations = [
        migrations.AddField(
            model_name="workerheartbeat",
            name="hosts",
            field=models.JSONField(default=dict),
        ),
    ]
