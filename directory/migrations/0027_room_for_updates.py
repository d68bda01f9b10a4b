"""Leave room beside rows that syncs change over and over, which only PostgreSQL needs.

It keeps the old row until nobody sees it. A new one that finds room on the same page
needs no entry in any index, of which groups and people have many.
https://www.postgresql.org/docs/current/storage-hot.html
"""

from typing import Any, ClassVar

from django.db import migrations

# Of a group the counts and bitmaps change with each of its members.
FILLED = {
    "directory_directorygroup": 50,
    "directory_groupbitmap": 50,
    "directory_directoryuser": 90,
}


def forwards(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for table, percent in FILLED.items():
            schema_editor.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")


def backwards(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for table in FILLED:
            schema_editor.execute(f"ALTER TABLE {table} RESET (fillfactor)")


class Migration(migrations.Migration):
    dependencies: ClassVar = [("directory", "0026_staged_pages_unpacked")]

    operations: ClassVar = [migrations.RunPython(forwards, backwards)]
