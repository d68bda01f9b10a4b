"""Count how often each permission is used, and keep what a token grants."""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

# SQLite changes cloud identity providers by copying the table; see there.
numbers = import_module("directory.migrations.0007_application_credentials")


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0023_mapping_drafts"),
    ]

    operations = [
        migrations.RunPython(numbers.keep_number, numbers.put_number_back),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="roles_granted",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="roles_seen_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.RunPython(numbers.put_number_back, numbers.keep_number),
        migrations.CreateModel(
            name="PermissionUse",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("permission", models.CharField(max_length=60)),
                ("feature", models.CharField(max_length=20)),
                ("day", models.DateField()),
                ("times", models.PositiveIntegerField()),
                (
                    "cloud_idp",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="permission_uses",
                        to="directory.cloudidentityprovider",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("cloud_idp", "day", "permission", "feature"),
                        name="permission_use_of_the_day",
                    )
                ],
            },
        ),
    ]
