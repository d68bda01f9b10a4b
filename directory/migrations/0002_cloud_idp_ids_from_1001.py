"""Number cloud identity providers from 1001, as Jamf Pro does (its API: minimum 1001).

SQLite adds a column by copying the table, and an empty copy has forgotten where its
numbers begin: a migration that changes this table has to call this again, and a test
on the first number fails when it does not.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TABLE = "directory_cloudidentityprovider"


def start_at_1001(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"ALTER TABLE {TABLE} ALTER id RESTART WITH 1001")
    else:
        schema_editor.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [TABLE, 1000]
        )


class Migration(migrations.Migration):
    dependencies = [("directory", "0001_initial")]

    # Going back leaves the sequence where it is: a number is never used twice.
    operations = [migrations.RunPython(start_at_1001, migrations.RunPython.noop)]
