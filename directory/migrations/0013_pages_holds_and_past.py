"""Keep reduced pages, what is held, what was, and what a run cost."""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

# SQLite changes cloud identity providers by copying the table; see there.
numbers = import_module("directory.migrations.0007_application_credentials")


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0012_sent_requests"),
    ]

    operations = [
        migrations.RenameField(
            model_name="cloudidentityprovider",
            old_name="delta_mappings",
            new_name="delta_selection",
        ),
        migrations.RunPython(numbers.keep_number, numbers.put_number_back),
        migrations.AddField(
            model_name="cloudidentityprovider",
            name="full_read_reason",
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.RunPython(numbers.put_number_back, numbers.keep_number),
        migrations.AddField(
            model_name="syncrun",
            name="deadline_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="selection",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="generation",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="retries",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="waits",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="phases",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="failures",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="rows_written",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="write_lock_seconds",
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="remembered",
            field=models.BooleanField(default=False),
        ),
        migrations.DeleteModel(
            name="StagedPage",
        ),
        migrations.CreateModel(
            name="StagedPage",
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
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="staged_pages",
                        to="directory.syncrun",
                    ),
                ),
                (
                    "resource",
                    models.CharField(
                        choices=[("USERS", "Users"), ("GROUPS", "Groups")], max_length=6
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("seen", models.BinaryField()),
                ("objects_changed", models.BinaryField()),
                ("members", models.BinaryField()),
                ("next_link", models.TextField(blank=True)),
                ("delta_link", models.TextField(blank=True)),
                ("staged_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run", "resource", "number"), name="staged_page_unique"
                    )
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="HeldChange",
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
                    "cloud_idp",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="held_changes",
                        to="directory.cloudidentityprovider",
                    ),
                ),
                ("number", models.IntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[("U", "User"), ("G", "Group"), ("O", "Other")],
                        max_length=1,
                    ),
                ),
                ("observed", models.JSONField(null=True)),
                ("told", models.BooleanField(default=True)),
                ("users_joined", models.BinaryField(null=True)),
                ("users_left", models.BinaryField(null=True)),
                ("users_inferred", models.BinaryField(null=True)),
                ("groups_joined", models.BinaryField(null=True)),
                ("groups_left", models.BinaryField(null=True)),
                ("groups_inferred", models.BinaryField(null=True)),
                ("guards", models.JSONField(default=list)),
                ("payload_hash", models.CharField(max_length=64)),
                ("opened_at", models.DateTimeField()),
                ("opened_by", models.IntegerField(null=True)),
                ("changed_at", models.DateTimeField()),
                ("changed_by", models.IntegerField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("closed_by", models.IntegerField(null=True)),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Held"),
                            ("HEALED", "Entra took it back"),
                            ("APPLIED", "Applied"),
                        ],
                        max_length=10,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["closed_at"], name="held_change_closed")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at", None)),
                        fields=("cloud_idp", "number"),
                        name="held_change_one_open",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="MembershipInterval",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("group_id", models.IntegerField()),
                ("member_id", models.IntegerField()),
                ("from_run", models.BigIntegerField(null=True)),
                ("from_at", models.DateTimeField(null=True)),
                ("to_run", models.BigIntegerField(null=True)),
                ("to_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["group_id", "to_at"], name="membership_interval_group"
                    ),
                    models.Index(
                        fields=["member_id"], name="membership_interval_member"
                    ),
                    models.Index(fields=["to_at"], name="membership_interval_ended"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("to_at", None)),
                        fields=("group_id", "member_id"),
                        name="membership_interval_one_open",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EarlierValue",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.IntegerField()),
                ("attribute", models.CharField(max_length=30)),
                ("value", models.TextField(blank=True)),
                ("to_run", models.BigIntegerField(null=True)),
                ("to_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["number", "attribute", "to_at"], name="earlier_value_of"
                    ),
                    models.Index(fields=["to_at"], name="earlier_value_ended"),
                ],
                "constraints": [],
            },
        ),
    ]
