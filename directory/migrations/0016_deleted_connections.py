"""Keep deleted connections until they are erased; a tenant and a name can come again."""

from importlib import import_module

from django.db import migrations, models
from django.db.models.functions import Lower

# SQLite changes cloud identity providers by copying the table; see there.
numbers = import_module("directory.migrations.0007_application_credentials")


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0015_guard_limits"),
    ]

    operations = [
        migrations.RunPython(numbers.keep_number, numbers.put_number_back),
        migrations.RemoveConstraint(
            model_name="cloudidentityprovider",
            name="cloud_idp_display_name_unique",
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="deleted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="deleted_by_name",
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="erase_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="erasing_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="cloudidentityprovider",
            name="tenant_id",
            field=models.CharField(db_index=True, max_length=36),
        ),
        migrations.AddConstraint(
            model_name="cloudidentityprovider",
            constraint=models.UniqueConstraint(
                fields=["tenant_id"],
                condition=models.Q(deleted_at=None),
                name="cloud_idp_tenant_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="cloudidentityprovider",
            constraint=models.UniqueConstraint(
                Lower("display_name"),
                condition=models.Q(deleted_at=None),
                name="cloud_idp_display_name_unique",
                violation_error_message=(
                    "Another cloud identity provider has this display name."
                ),
            ),
        ),
        migrations.RunPython(numbers.put_number_back, numbers.keep_number),
    ]
