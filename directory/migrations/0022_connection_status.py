"""Keep what a status rests on, when it is checked again, and until when tokens live.

SQLite changes cloud identity providers by copying the table, and the copy does not know
the highest number that was ever given; see 0002 and 0007.
"""

from importlib import import_module

from django.db import migrations, models

_numbers = import_module("directory.migrations.0007_application_credentials")


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0021_sync_schedules"),
    ]

    operations = [
        migrations.RunPython(_numbers.keep_number, _numbers.put_number_back),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="asked_to_wait_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="checked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="consented_client_id",
            field=models.CharField(blank=True, max_length=36),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="failed_checks",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="next_check_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="status_advice",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="status_seen_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="token_expires_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="token_issued_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name="cloudidentityprovider",
            name="status",
            field=models.CharField(
                choices=[
                    ("ACTIVE", "Active"),
                    ("PENDING_CONSENT", "Pending consent"),
                    ("PERMISSIONS_MISSING", "Permissions missing"),
                    ("CONSENT_WITHDRAWN", "Consent withdrawn"),
                    ("APPLICATION_REMOVED", "Application removed"),
                    ("APPLICATION_DISABLED", "Application disabled"),
                    ("CREDENTIALS", "Credentials refused"),
                    ("CREDENTIALS_EXPIRED", "Credentials expired"),
                    ("CREDENTIALS_MISSING", "Credentials missing"),
                    ("KEY_UNAVAILABLE", "Credentials cannot be read"),
                    ("BLOCKED", "Blocked by Conditional Access"),
                    ("WRONG_CLOUD", "Wrong cloud"),
                    ("TENANT_GONE", "Tenant not found"),
                    ("REFUSED", "Refused by Microsoft"),
                    ("THROTTLED", "Throttled by Microsoft"),
                    ("UNREACHABLE", "Microsoft not reached"),
                ],
                default="ACTIVE",
                max_length=24,
            ),
        ),
        migrations.RunPython(_numbers.put_number_back, _numbers.keep_number),
    ]
