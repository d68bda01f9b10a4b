"""Give application registrations credentials of their own, and connections their own.

SQLite changes cloud identity providers by copying the table, and the copy does not know
the highest number that was ever given; see 0002.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TABLE = "directory_cloudidentityprovider"


def keep_number(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'kept', max(seq) FROM "
            "sqlite_sequence WHERE name = %s",
            [TABLE],
        )


def put_number_back(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [TABLE])
        schema_editor.execute(
            "UPDATE sqlite_sequence SET name = %s WHERE name = 'kept'", [TABLE]
        )


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0006_tls_connections"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ApplicationCredential",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("SECRET", "Client secret"),
                            ("CERTIFICATE", "Certificate"),
                            ("ASSERTION", "Federated assertion"),
                        ],
                        max_length=12,
                    ),
                ),
                ("in_use", models.BooleanField(default=True)),
                ("sealed", models.TextField(blank=True)),
                ("certificate_pem", models.TextField(blank=True)),
                ("assertion_file", models.CharField(blank=True, max_length=500)),
                ("fingerprint", models.CharField(blank=True, max_length=64)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("added_at", models.DateTimeField()),
                ("refused_at", models.DateTimeField(blank=True, null=True)),
                ("refusals", models.PositiveSmallIntegerField(default=0)),
                ("refused_detail", models.TextField(blank=True)),
                ("refused_code", models.CharField(blank=True, max_length=60)),
                ("refused_request_id", models.CharField(blank=True, max_length=64)),
                (
                    "added_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "registration",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="credentials",
                        to="directory.applicationregistration",
                    ),
                ),
            ],
            options={"ordering": ["-added_at", "-pk"], "default_permissions": ()},
        ),
        migrations.AddField(
            model_name="applicationregistration",
            name="for_one_connection",
            field=models.BooleanField(default=False),
        ),
        migrations.AlterField(
            model_name="applicationregistration",
            name="cloud",
            field=models.CharField(max_length=20),
        ),
        migrations.AddConstraint(
            model_name="applicationregistration",
            constraint=models.UniqueConstraint(
                condition=models.Q(("for_one_connection", False)),
                fields=("cloud",),
                name="application_registration_cloud",
            ),
        ),
        migrations.AddConstraint(
            model_name="applicationregistration",
            constraint=models.UniqueConstraint(
                fields=("cloud", "client_id"),
                name="application_registration_client_id",
            ),
        ),
        migrations.RunPython(keep_number, put_number_back),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="own_registration",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="cloud_idp",
                to="directory.applicationregistration",
            ),
        ),
        migrations.RunPython(put_number_back, keep_number),
        migrations.AddField(
            model_name="consentrequest",
            name="registration",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="directory.applicationregistration",
            ),
        ),
    ]
