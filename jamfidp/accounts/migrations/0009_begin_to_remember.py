"""Open an interval for everything that is given now: since when is not known."""

from typing import Any

from django.db import migrations
from django.utils import timezone


def open_intervals(apps: Any, schema_editor: Any) -> None:
    now = timezone.now()
    since = {"from_at": now, "earlier": True}
    privileges = apps.get_model("accounts", "PrivilegesInterval").objects
    account_model = apps.get_model("accounts", "User")
    for account in account_model.objects.select_related("site"):
        privileges.create(
            account_id=account.pk,
            name=account.full_name or account.username,
            enabled=account.is_active,
            tenant_id=account.tenant_id,
            object_id=account.object_id,
            access_level=account.access_level,
            privilege_set=account.privilege_set,
            privileges=account.privileges,
            site_id=account.site_id,
            site_name=account.site.name if account.site else "",
            **since,
        )
    for group in apps.get_model("accounts", "AccountGroup").objects.select_related(
        "site"
    ):
        privileges.create(
            account_group_id=group.pk,
            name=group.display_name,
            access_level=group.access_level,
            privilege_set=group.privilege_set,
            privileges=group.privileges,
            site_id=group.site_id,
            site_name=group.site.name if group.site else "",
            **since,
        )
    for binding in apps.get_model("accounts", "DirectoryBinding").objects.all():
        apps.get_model("accounts", "BindingInterval").objects.create(
            account_group_id=binding.account_group_id,
            tenant_id=binding.tenant_id,
            object_id=binding.object_id,
            nested=binding.nested,
            name=binding.name_when_bound,
            **since,
        )
    for account, group in account_model.groups.through.objects.values_list(
        "user_id", "accountgroup_id"
    ):
        apps.get_model("accounts", "AssignmentInterval").objects.create(
            account_id=account, account_group_id=group, **since
        )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_validity_intervals"),
    ]

    operations = [
        migrations.RunPython(open_intervals, migrations.RunPython.noop),
    ]
