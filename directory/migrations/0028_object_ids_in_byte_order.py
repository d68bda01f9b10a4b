"""Compare object ids byte by byte, which only PostgreSQL has to be told.

By the rules of a language it takes several times as long to find one, and to index them.
"""

from typing import Any, ClassVar

from django.db import migrations


def _collate(schema_editor: Any, collation: str) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "ALTER TABLE directory_directoryobject"
            f' ALTER COLUMN object_id TYPE varchar(36) COLLATE "{collation}"'
        )


def forwards(_apps: Any, schema_editor: Any) -> None:
    _collate(schema_editor, "C")


def backwards(_apps: Any, schema_editor: Any) -> None:
    _collate(schema_editor, "default")


class Migration(migrations.Migration):
    dependencies: ClassVar = [("directory", "0027_room_for_updates")]

    operations: ClassVar = [migrations.RunPython(forwards, backwards)]
