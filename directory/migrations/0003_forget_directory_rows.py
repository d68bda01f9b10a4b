"""Forget what was read of directories: the next migration makes its tables anew.

They are a cache. The next run reads everything again, and until then absence means
nothing: scopes stay as they are decided, privileges held through a directory wait.
A worker that still runs with the older version holds a token that is no longer valid.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models import F

ACTIVE = ["QUEUED", "READING", "APPLYING"]


def forget(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("directory", "CloudIdentityProvider").objects.update(
        users_delta_link="",
        groups_delta_link="",
        first_complete_read_at=None,
        last_full_read_at=None,
        next_sync_at=None,
        generation=F("generation") + 1,
    )
    apps.get_model("directory", "StagedPage").objects.all().delete()
    apps.get_model("directory", "SyncRun").objects.filter(state__in=ACTIVE).update(
        state="QUEUED",
        kind="FULL",
        kind_reason="The console was upgraded.",
        phase="",
        fencing_token=F("fencing_token") + 1,
        heartbeat_at=None,
        lease_expires_at=None,
        pages=0,
        users_read=0,
        groups_read=0,
        memberships_read=0,
    )


class Migration(migrations.Migration):
    dependencies = [("directory", "0002_cloud_idp_ids_from_1001")]

    # Going back forgets as well: the tables are made anew either way.
    operations = [migrations.RunPython(forget, forget)]
