"""Store and index directory rows as each database does it best.

Django's models cannot say any of this, so `tests/directory/test_storage.py` says it:
a later migration that makes one of these tables anew has to call `store` again.

SQLite: membership tables WITHOUT ROWID, since the key is the row; trigram indexes
(FTS5) of the search columns, kept by triggers.
https://www.sqlite.org/withoutrowid.html, https://www.sqlite.org/fts5.html

PostgreSQL: the C collation for what lists sort by, so that both databases order every
script by code point; trigram indexes (pg_trgm, a trusted extension: the owner of the
database may create it).
https://www.postgresql.org/docs/current/pgtrgm.html
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

SLIM = (
    "directory_directorymembership",
    "directory_groupnesting",
    "directory_groupclosure",
    "directory_groupothermember",
)
SEARCHED = ("directory_directoryuser", "directory_directorygroup")
SORTED = (
    ("directory_directoryuser", "sort_key"),
    ("directory_directoryuser", "user_name_key"),
    ("directory_directorygroup", "sort_key"),
)


def store(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        _postgresql(schema_editor)
    else:
        _sqlite(schema_editor)


def _postgresql(schema_editor: BaseDatabaseSchemaEditor) -> None:
    schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for table, column in SORTED:
        schema_editor.execute(
            f'ALTER TABLE {table} ALTER {column} TYPE varchar COLLATE "C"'
        )
    for table in SEARCHED:
        schema_editor.execute(
            f"CREATE INDEX {table}_trigrams ON {table} USING gin (search gin_trgm_ops)"
        )


def _sqlite(schema_editor: BaseDatabaseSchemaEditor) -> None:
    for table in SLIM:
        _without_rowid(schema_editor, table)
    for table in SEARCHED:
        index = f"{table}_trigrams"
        schema_editor.execute(
            f"CREATE VIRTUAL TABLE {index} USING fts5(search, content='{table}',"
            " content_rowid='id', tokenize='trigram case_sensitive 1', detail=none)"
        )
        added = f"INSERT INTO {index} (rowid, search)"
        added += " VALUES (new.id, new.search);"
        removed = (
            f"INSERT INTO {index} ({index}, rowid, search)"  # noqa: S608
            " VALUES ('delete', old.id, old.search);"
        )
        for name, event, body in (
            ("added", f"INSERT ON {table}", added),
            ("removed", f"DELETE ON {table}", removed),
            (
                "changed",
                f"UPDATE OF search ON {table} WHEN old.search IS NOT new.search",
                removed + added,
            ),
        ):
            schema_editor.execute(
                f"CREATE TRIGGER {index}_{name} AFTER {event} BEGIN {body} END"
            )


def _without_rowid(schema_editor: BaseDatabaseSchemaEditor, table: str) -> None:
    """Make an empty table anew from its own definition, with its indexes."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = %s AND sql IS NOT NULL"
            " ORDER BY type DESC",
            [table],
        )
        definition, *indexes = (row[0] for row in cursor.fetchall())
    schema_editor.execute(f"DROP TABLE {table}")
    schema_editor.execute(f"{definition} WITHOUT ROWID")
    for index in indexes:
        schema_editor.execute(index)


def undo(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Indexes and triggers go with the tables, which going back makes anew."""
    for table in SEARCHED:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX {table}_trigrams")
        else:
            for name in ("added", "removed", "changed"):
                schema_editor.execute(f"DROP TRIGGER {table}_trigrams_{name}")
            schema_editor.execute(f"DROP TABLE {table}_trigrams")


class Migration(migrations.Migration):
    dependencies = [("directory", "0004_directory_objects")]

    operations = [migrations.RunPython(store, undo)]
