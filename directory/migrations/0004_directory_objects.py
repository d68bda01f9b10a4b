"""Give directory objects numbers of their own; make membership tables slim."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0003_forget_directory_rows"),
    ]

    operations = [
        migrations.DeleteModel(
            name="GroupOtherMember",
        ),
        migrations.DeleteModel(
            name="GroupBitmap",
        ),
        migrations.DeleteModel(
            name="GroupClosure",
        ),
        migrations.DeleteModel(
            name="GroupNesting",
        ),
        migrations.DeleteModel(
            name="DirectoryMembership",
        ),
        migrations.DeleteModel(
            name="DirectoryGroup",
        ),
        migrations.DeleteModel(
            name="DirectoryUser",
        ),
        migrations.CreateModel(
            name="DirectoryObject",
            fields=[
                ("id", models.AutoField(primary_key=True, serialize=False)),
                (
                    "cloud_idp",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="objects_seen",
                        to="directory.cloudidentityprovider",
                    ),
                ),
                ("object_id", models.CharField(max_length=36)),
                (
                    "kind",
                    models.CharField(
                        choices=[("U", "User"), ("G", "Group"), ("O", "Other")],
                        max_length=1,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("cloud_idp", "object_id"),
                        name="directory_object_object_id",
                    )
                ],
                "indexes": [],
            },
        ),
        migrations.CreateModel(
            name="ObservedHash",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "cloud_idp_id",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "cloud_idp",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="observed_hashes",
                        to="directory.cloudidentityprovider",
                    ),
                ),
                ("number", models.IntegerField()),
                ("value", models.BigIntegerField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="DirectoryUser",
            fields=[
                ("id", models.IntegerField(primary_key=True, serialize=False)),
                (
                    "cloud_idp",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="users",
                        to="directory.cloudidentityprovider",
                    ),
                ),
                ("object_id", models.CharField(max_length=36)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("PRESENT", "In the directory"),
                            ("DELETED", "Deleted, can be restored"),
                            ("GONE", "Deleted for good"),
                            ("FILTERED", "Filtered out"),
                            ("UNREADABLE", "No longer readable"),
                            ("MENTIONED", "Not read yet"),
                        ],
                        max_length=10,
                    ),
                ),
                ("state_since", models.DateTimeField()),
                ("state_told", models.BooleanField(default=True)),
                ("account_enabled", models.BooleanField(null=True)),
                ("user_type", models.CharField(blank=True, max_length=20)),
                ("display_name", models.CharField(blank=True, max_length=256)),
                ("user_principal_name", models.CharField(blank=True, max_length=1024)),
                ("user_name", models.CharField(blank=True, max_length=1024)),
                ("real_name", models.CharField(blank=True, max_length=1024)),
                ("email", models.CharField(blank=True, max_length=1024)),
                ("department", models.CharField(blank=True, max_length=1024)),
                ("building", models.CharField(blank=True, max_length=1024)),
                ("room", models.CharField(blank=True, max_length=1024)),
                ("phone", models.CharField(blank=True, max_length=1024)),
                ("position", models.CharField(blank=True, max_length=1024)),
                ("user_name_key", models.CharField(blank=True, max_length=512)),
                ("sort_key", models.CharField(blank=True, max_length=256)),
                ("search", models.TextField(blank=True)),
                ("first_seen_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["user_name_key", "id"], name="directory_user_key"
                    ),
                    models.Index(
                        fields=["state", "sort_key", "id"], name="directory_user_sort"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("cloud_idp", "object_id"),
                        name="directory_user_object_id",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DirectoryGroup",
            fields=[
                ("id", models.IntegerField(primary_key=True, serialize=False)),
                (
                    "cloud_idp",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="groups",
                        to="directory.cloudidentityprovider",
                    ),
                ),
                ("object_id", models.CharField(max_length=36)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("PRESENT", "In the directory"),
                            ("DELETED", "Deleted, can be restored"),
                            ("GONE", "Deleted for good"),
                            ("FILTERED", "Filtered out"),
                            ("UNREADABLE", "No longer readable"),
                            ("MENTIONED", "Not read yet"),
                        ],
                        max_length=10,
                    ),
                ),
                ("state_since", models.DateTimeField()),
                ("state_told", models.BooleanField(default=True)),
                ("display_name", models.CharField(blank=True, max_length=256)),
                ("description", models.TextField(blank=True)),
                ("mail", models.CharField(blank=True, max_length=1024)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("SECURITY", "Security"),
                            ("MICROSOFT_365", "Microsoft 365"),
                            ("MAIL_ENABLED_SECURITY", "Mail-enabled security"),
                            ("DISTRIBUTION", "Distribution"),
                            ("UNKNOWN", "Not readable"),
                        ],
                        max_length=24,
                    ),
                ),
                ("mail_enabled", models.BooleanField(null=True)),
                ("security_enabled", models.BooleanField(null=True)),
                ("is_dynamic", models.BooleanField(default=False)),
                ("membership_rule", models.TextField(blank=True)),
                ("is_assignable_to_role", models.BooleanField(null=True)),
                ("hidden_membership", models.BooleanField(default=False)),
                ("other_members", models.PositiveIntegerField(default=0)),
                ("direct_users", models.PositiveIntegerField(default=0)),
                ("transitive_users", models.PositiveIntegerField(default=0)),
                ("sort_key", models.CharField(blank=True, max_length=256)),
                ("search", models.TextField(blank=True)),
                ("first_seen_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["state", "sort_key", "id"], name="directory_group_sort"
                    ),
                    models.Index(fields=["display_name"], name="directory_group_name"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("cloud_idp", "object_id"),
                        name="directory_group_object_id",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DirectoryMembership",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "group_id",
                        "user_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="memberships",
                        to="directory.directorygroup",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="memberships",
                        to="directory.directoryuser",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["user", "group"], name="directory_membership_user"
                    )
                ],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="GroupNesting",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "parent_id",
                        "child_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="nested",
                        to="directory.directorygroup",
                    ),
                ),
                (
                    "child",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="nested_in",
                        to="directory.directorygroup",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["child", "parent"], name="group_nesting_child")
                ],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="GroupClosure",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "ancestor_id",
                        "descendant_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "ancestor",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="descendants",
                        to="directory.directorygroup",
                    ),
                ),
                (
                    "descendant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="ancestors",
                        to="directory.directorygroup",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["descendant", "ancestor"],
                        name="group_closure_descendant",
                    )
                ],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="GroupBitmap",
            fields=[
                (
                    "group",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="bitmap",
                        serialize=False,
                        to="directory.directorygroup",
                    ),
                ),
                ("members", models.BinaryField()),
                ("direct", models.BinaryField(null=True)),
                ("transitive", models.BinaryField(null=True)),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
        migrations.CreateModel(
            name="GroupOtherMember",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "group_id",
                        "member_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="others",
                        to="directory.directorygroup",
                    ),
                ),
                ("member_id", models.IntegerField()),
            ],
            options={
                "indexes": [],
                "constraints": [],
            },
        ),
    ]
