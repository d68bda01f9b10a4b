"""Stored pages are read back within minutes: packing them costs more than their space."""

from typing import Any, ClassVar

from django.db import migrations

COLUMNS = ("seen", "objects_changed", "members")


def _set_storage(schema_editor: Any, how: str) -> None:
    # https://www.postgresql.org/docs/current/storage-toast.html
    if schema_editor.connection.vendor == "postgresql":
        for column in COLUMNS:
            schema_editor.execute(
                "ALTER TABLE directory_stagedpage"
                f" ALTER COLUMN {column} SET STORAGE {how}"
            )


def forwards(_apps: Any, schema_editor: Any) -> None:
    _set_storage(schema_editor, "EXTERNAL")


def backwards(_apps: Any, schema_editor: Any) -> None:
    _set_storage(schema_editor, "EXTENDED")


class Migration(migrations.Migration):
    dependencies: ClassVar = [("directory", "0025_staged_page_format")]

    operations: ClassVar = [migrations.RunPython(forwards, backwards)]
