"""Take away the columns whose contents 0008 moved."""

import django.db.models.deletion
from django.db import migrations, models

MOVED = (
    "client_secret_sealed",
    "client_secret_fingerprint",
    "client_secret_expires_at",
    "private_key_sealed",
    "certificate_pem",
    "certificate_fingerprint",
    "certificate_expires_at",
    "next_private_key_sealed",
    "next_certificate_pem",
)


class Migration(migrations.Migration):
    dependencies = [("directory", "0008_move_credentials_to_rows")]

    operations = [
        *(
            migrations.RemoveField(model_name="applicationregistration", name=name)
            for name in MOVED
        ),
        migrations.AlterField(
            model_name="consentrequest",
            name="registration",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="directory.applicationregistration",
            ),
        ),
    ]
