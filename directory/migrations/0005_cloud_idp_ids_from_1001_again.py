"""Number cloud identity providers from 1001 after their table was made anew.

SQLite adds a column by copying the table, and an empty copy has forgotten where its
numbers begin. Numbers already given stay.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TABLE = "directory_cloudidentityprovider"


def start_at_1001(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    with schema_editor.connection.cursor() as cursor:
        if schema_editor.connection.vendor == "postgresql":
            # PostgreSQL keeps its sequence when columns are added.
            return
        cursor.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, 1000) WHERE name = %s", [TABLE]
        )
        if cursor.rowcount == 0:
            cursor.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [TABLE, 1000]
            )


class Migration(migrations.Migration):
    dependencies = [("directory", "0004_other_members_and_delta_mappings")]

    # Going back leaves the sequence where it is: a number is never used twice.
    operations = [migrations.RunPython(start_at_1001, migrations.RunPython.noop)]
