from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0002_cloud_idp_ids_from_1001"),
    ]

    operations = [
        migrations.AddField(
            model_name="applicationregistration",
            name="next_certificate_pem",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="applicationregistration",
            name="next_private_key_sealed",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="consentrequest",
            name="answer_id",
            field=models.CharField(blank=True, max_length=64, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="consentrequest",
            name="session_ended_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name="cloudidentityprovider",
            name="status",
            field=models.CharField(
                choices=[
                    ("ACTIVE", "Active"),
                    ("PERMISSIONS_MISSING", "Permissions missing"),
                    ("CONSENT_WITHDRAWN", "Consent withdrawn"),
                    ("APPLICATION_DISABLED", "Application disabled"),
                    ("CREDENTIALS", "Credentials refused"),
                    ("KEY_UNAVAILABLE", "Credentials cannot be read"),
                    ("BLOCKED", "Blocked by Conditional Access"),
                    ("TENANT_GONE", "Tenant not found"),
                    ("REFUSED", "Refused by Microsoft"),
                    ("UNREACHABLE", "Microsoft not reached"),
                ],
                default="ACTIVE",
                max_length=24,
            ),
        ),
    ]
