"""Writing many rows at once: what the ORM does too slowly for a whole directory.

A prototype with a million memberships on PostgreSQL 15 took 46 s by `bulk_create`,
8 s by COPY into the indexed table and 1.3 s by COPY into an empty one that was indexed
afterwards. Names of tables and columns come from the models; values are always
parameters.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import orjson
from django.db import connection, transaction
from django.db.models import Model
from isal import isal_zlib
from pyroaring import BitMap

from jamfidp.compiled import Question, answers_to
from jamfidp.gathered import is_gathering, later, send

T = TypeVar("T")
# What is written as it is; of PostgreSQL's true and false as well.
Plain = str | int | None

# SQLite's default limit of parameters in one statement is 999 in old builds.
CHUNK = 900
# A million rows prepared at once would be held in memory twice.
WRITTEN_AT_ONCE = 5_000
# Entries of an index that SQLite looks at to know what it holds.
ANALYZED = 1_000
# Bytes of trigrams that SQLite gathers before it writes them (its default is 1 MB).
TRIGRAMS_AT_ONCE = 8 * 1024 * 1024
# From this many rows on a temporary table is quicker than arrays.
BY_TABLE = 500
# Fewer rows go with what is written before and after them, where that is gathered;
# unless they have so many bytes, which a statement has to spell out.
FEW = 100
SPELLED_OUT = 16_384

# So few columns SQLite takes as quickly from JSON; of many it makes the work of two.
NARROW = 4

# Names a lock of PostgreSQL's; any number that nobody else takes.
FIRST_LOADS = 0x6A69_6470

# As long as SQLite's timeout in the settings.
LOCK_SECONDS = 30.0


@contextmanager
def as_a_worker() -> Iterator[None]:
    """Tell PostgreSQL how a sync works.

    It waits so long for a lock at most: else without end, and the worker with it. And it
    asks for thousands of rows by their keys, which are in memory, since it read and wrote
    them minutes ago: by its usual costs PostgreSQL reads a whole table instead.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"SET lock_timeout = {LOCK_SECONDS * 1000:.0f}; SET random_page_cost = 1.1"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout; RESET random_page_cost")


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def reserve_ids(model: type[Model], count: int) -> list[int]:
    """Take `count` new primary keys, before the transaction that uses them.

    A plan names rows that do not exist yet. Keys that are never used leave a gap.
    """
    if not count:
        return []
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # The name of the sequence once, and not for each number.
            cursor.execute(
                "SELECT nextval(name) FROM (SELECT pg_get_serial_sequence(%s, 'id')"
                "::regclass AS name OFFSET 0) AS one, generate_series(1, %s)",
                [f'"{table}"', count],
            )
            return [row[0] for row in cursor.fetchall()]
        # AUTOINCREMENT keeps its place in sqlite_sequence, from the first row on.
        # https://www.sqlite.org/autoinc.html
        cursor.execute(
            "UPDATE sqlite_sequence SET seq = seq + %s WHERE name = %s RETURNING seq",
            [count, table],
        )
        row = cursor.fetchone()
        if row is None:
            cursor.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s) RETURNING seq",
                [table, count],
            )
            row = cursor.fetchone()
        last = int(row[0])
        return list(range(last - count + 1, last + 1))


def among(
    model: type[Model], column: str, values: Iterable[int] | Iterable[str]
) -> tuple[str, Any]:
    """Return the condition that a column has one of these values, behind its name, and
    its parameter."""
    wanted = list(values)
    if connection.vendor == "postgresql":
        return f"= ANY (%s::{_types(model)[column]}[])", _array(wanted)
    return "IN (SELECT value FROM json_each(%s))", orjson.dumps(wanted).decode()


class _Reading(NamedTuple):
    """Columns of the rows whose key is one of some values; see `read`."""

    model: type[Model]
    columns: tuple[str, ...]
    key: str
    distinct: bool
    same: tuple[tuple[str, int | str | None], ...]

    def told(self, values: Iterable[Any]) -> tuple[str, list[Any]]:
        condition, wanted = among(self.model, self.key, values)
        conditions, parameters = [f"{_quoted(self.key)} {condition}"], [wanted]
        for column, value in self.same:
            if value is None:
                conditions.append(f"{_quoted(column)} IS NULL")
            else:
                conditions.append(f"{_quoted(column)} = %s")
                parameters.append(value)
        return (
            f"SELECT {'DISTINCT ' if self.distinct else ''}{_listed(self.columns)}"  # noqa: S608
            f" FROM {_quoted(self.model._meta.db_table)}"
            f" WHERE {' AND '.join(conditions)}",
            parameters,
        )

    def converted(
        self, found: list[tuple[Any, ...]], _values: Any
    ) -> list[tuple[Any, ...]]:
        return list(found)


def reading(
    model: type[Model],
    columns: Sequence[str],
    key: str,
    values: Iterable[int] | Iterable[str],
    *,
    distinct: bool = False,
    **same: int | str | None,
) -> Question:
    """Return what `read` asks as a question for `asked_together`."""
    asked = _Reading(model, tuple(columns), key, distinct, tuple(same.items()))
    return Question(asked, frozenset(values))


def read(
    model: type[Model],
    columns: Sequence[str],
    key: str,
    values: Iterable[int] | Iterable[str],
    *,
    distinct: bool = False,
    **same: int | str | None,
) -> list[tuple[Any, ...]]:
    """Read columns of the rows whose key is one of these values, as they are stored.

    `same` are columns that have to have one value, or none. One statement, however many values
    there are: the ORM would need one for each few hundred, and of a small read most of
    the time for putting it together.
    """
    return answers_to(reading(model, columns, key, values, distinct=distinct, **same))


def insert(
    model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Insert rows that are known to be new; a duplicate is an error. Returns how many."""
    table, names = _quoted(model._meta.db_table), _listed(columns)
    marks = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
    written = 0
    with connection.cursor() as cursor:
        # Taken before they are written: what yields them may read from the database,
        # which answers nothing else during a COPY.
        for some in chunks(rows, WRITTEN_AT_ONCE):
            if connection.vendor == "postgresql":
                if is_gathering() and _are_few(some):
                    _insert_or(model, columns, some, "")
                    written += len(some)
                    continue
                with _copy(cursor, f"COPY {table} ({names}) FROM STDIN") as copy:
                    for row in some:
                        copy.write_row(row)
            else:
                cursor.executemany(statement, some)
            written += len(some)
    return written


def _are_few(rows: Sequence[Sequence[Any]]) -> bool:
    if len(rows) >= FEW:
        return False
    stored = (v for row in rows for v in row if isinstance(v, bytes))
    return sum(map(len, stored)) < SPELLED_OUT


def insert_plain(
    model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Plain]]
) -> int:
    """Insert rows of texts and numbers, as `insert`, and quicker."""
    if connection.vendor != "postgresql":
        narrow = len(columns) <= NARROW
        return (_insert_together if narrow else insert)(model, columns, rows)
    table, names = _quoted(model._meta.db_table), _listed(columns)
    written = 0
    with connection.cursor() as cursor:
        for some in chunks(rows, WRITTEN_AT_ONCE):
            with _copy(cursor, f"COPY {table} ({names}) FROM STDIN") as copy:
                copy.write(_text_of(some))
            written += len(some)
    return written


def _insert_together(
    model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Plain]]
) -> int:
    """As `insert_plain`, with one statement for thousands of rows (SQLite).

    Other threads of Python go on meanwhile: row by row, each would wait for them.
    """
    values = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(columns)))
    statement = (
        f"INSERT INTO {_quoted(model._meta.db_table)} ({_listed(columns)})"  # noqa: S608
        f" SELECT {values} FROM json_each(%s)"
    )
    written = 0
    with connection.cursor() as cursor:
        for some in chunks(rows, WRITTEN_AT_ONCE):
            cursor.execute(statement, [orjson.dumps(some).decode()])
            written += len(some)
    return written


def insert_sets(
    model: type[Model], columns: tuple[str, str], sets: Iterable[tuple[int, BitMap]]
) -> int:
    """Insert pairs of a number and each of its set, as `insert`, and much quicker.

    Both are integers of 32 bits.
    """
    table, names = _quoted(model._meta.db_table), _listed(columns)
    written = 0
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            to = f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)"
            with _copy(cursor, to) as copy:
                copy.write(_BINARY_HEAD)
                for firsts, seconds in _columns_of(sets):
                    copy.write(_binary_pairs(firsts, seconds))
                    written += len(firsts)
                copy.write(_BINARY_END)
            return written
        statement = (
            f"INSERT INTO {table} ({names})"  # noqa: S608
            " SELECT %s, value FROM json_each(%s)"
        )
        waiting: list[tuple[int, str]] = []
        counted = 0
        for first, numbers in sets:
            waiting.append((first, orjson.dumps(numbers.to_array().tolist()).decode()))
            counted += len(numbers)
            if counted >= WRITTEN_AT_ONCE:
                cursor.executemany(statement, waiting)
                written += counted
                waiting, counted = [], 0
        cursor.executemany(statement, waiting)
        written += counted
    return written


# https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4
_BINARY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_BINARY_END = b"\xff\xff"
# Two columns, and before each of them its length.
_PAIR = b"\0\2" + b"\0\0\0\4\0\0\0\0" + b"\0\0\0\4\0\0\0\0"
_FIRST_AT, _SECOND_AT = 6, 14


def _columns_of(
    sets: Iterable[tuple[int, BitMap]],
) -> Iterator[tuple[array[int], array[int]]]:
    """Yield pairs of a number and each of its set as two columns, some at a time."""
    firsts, seconds = array("I"), array("I")
    for first, numbers in sets:
        firsts.extend(array("I", [first]) * len(numbers))
        seconds.extend(numbers.to_array())
        if len(firsts) >= WRITTEN_AT_ONCE:
            yield firsts, seconds
            firsts, seconds = array("I"), array("I")
    yield firsts, seconds


def _binary_pairs(firsts: array[int], seconds: array[int]) -> bytes:
    """Return pairs of integers as a binary COPY reads them: byte by byte of all of them
    together, which takes a fourth of writing them as text, one by one."""
    rows = bytearray(_PAIR * len(firsts))
    for at, numbers in ((_FIRST_AT, firsts), (_SECOND_AT, seconds)):
        if sys.byteorder == "little":
            numbers.byteswap()
        column = numbers.tobytes()
        width = numbers.itemsize
        for byte in range(width):
            rows[at + byte :: len(_PAIR)] = column[byte::width]
    return bytes(rows)


# Of characters that a text hardly ever has: what is between two columns, what is
# between two rows, and a value that is missing.
_COLUMN, _ROW, _MISSING = "\x01", "\x1f", "\x02"
_ESCAPED = (
    ("\\", "\\\\"),
    ("\t", "\\t"),
    ("\n", "\\n"),
    ("\r", "\\r"),
)
# Fast rather than small.
_LEVEL = 1


def packed_for_copy(rows: Sequence[Sequence[Plain]]) -> bytes:
    """Return rows as `copy_packed` takes them, compressed. Asks no database, so that a
    thread may do it."""
    return isal_zlib.compress(_text_of(rows).encode(), _LEVEL)


def _text_of(rows: Sequence[Sequence[Plain]]) -> str:
    """Return rows as COPY reads them.

    https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2
    """
    columns = missing = 0
    lines = []
    for row in rows:
        columns += len(row)
        if None in row:
            missing += row.count(None)
            row = [_MISSING if value is None else value for value in row]
        lines.append(_COLUMN.join(map(str, row)))
    text = _ROW.join(lines)
    found = map(text.count, (_COLUMN, _ROW, _MISSING))
    if tuple(found) != (columns - len(rows), len(rows) - 1, missing):
        # One of them is a text's own.
        return "".join(
            "\t".join("\\N" if v is None else _escaped(str(v)) for v in row) + "\n"
            for row in rows
        )
    text = _escaped(text)
    for mark, written in ((_COLUMN, "\t"), (_ROW, "\n"), (_MISSING, "\\N")):
        text = text.replace(mark, written)
    return f"{text}\n"


def _escaped(text: str) -> str:
    for character, written in _ESCAPED:
        text = text.replace(character, written)
    return text


def copy_packed(
    model: type[Model],
    columns: Sequence[str],
    packed: Iterable[bytes],
    same: Mapping[str, Any],
) -> int:
    """Insert rows that were packed for it (PostgreSQL); `same` are columns that have the
    same value in all of them. Returns how many.

    What yields them must not ask the database, which answers nothing else meanwhile.
    """
    table, names = _quoted(model._meta.db_table), _listed([*columns, *same])
    # Behind each row: a line ends where a row does, and nowhere else.
    rest = "".join(f"\t{_escaped(str(value))}" for value in same.values())
    end = f"{rest}\n".encode()
    written = 0
    with (
        connection.cursor() as cursor,
        _copy(cursor, f"COPY {table} ({names}) FROM STDIN") as copy,
    ):
        for some in packed:
            lines = isal_zlib.decompress(some)
            written += lines.count(b"\n")
            copy.write(lines.replace(b"\n", end))
    return written


def upsert(
    model: type[Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    key: Sequence[str],
) -> int:
    """Insert rows, or change those with the same key. Returns how many were given."""
    if not rows:
        return 0
    rest = [column for column in columns if column not in key]
    assigned = ", ".join(f"{_quoted(c)} = excluded.{_quoted(c)}" for c in rest)
    action = f"ON CONFLICT ({_listed(key)}) DO UPDATE SET {assigned}"
    _insert_or(model, columns, rows, action)
    return len(rows)


def insert_missing(
    model: type[Model], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> int:
    """Insert the rows that are not there yet. Returns how many were given."""
    if rows:
        _insert_or(model, columns, rows, "ON CONFLICT DO NOTHING")
    return len(rows)


def _insert_or(
    model: type[Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    action: str,
) -> None:
    table, names = _quoted(model._meta.db_table), _listed(columns)
    if connection.vendor == "postgresql":
        with _source(model, columns, rows) as source:
            later(
                f"INSERT INTO {table} ({names})"  # noqa: S608
                f" SELECT {names} FROM {source.table} {action}",
                source.values,
            )
        return
    marks = ", ".join(["%s"] * len(columns))
    _many(
        f"INSERT INTO {table} ({names}) VALUES ({marks}) {action}",  # noqa: S608
        rows,
    )


def update(
    model: type[Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    key: str = "id",
) -> int:
    """Update rows by key; each row is its values and then its key."""
    if not rows:
        return 0
    table = _quoted(model._meta.db_table)
    if connection.vendor == "postgresql":
        assigned = ", ".join(f"{_quoted(c)} = source.{_quoted(c)}" for c in columns)
        with _source(model, [*columns, key], rows) as source:
            later(
                f"UPDATE {table} SET {assigned} FROM {source.table}"  # noqa: S608
                f" WHERE {table}.{_quoted(key)} = source.{_quoted(key)}",
                source.values,
            )
        return len(rows)
    assigned = ", ".join(f"{_quoted(column)} = %s" for column in columns)
    _many(
        f"UPDATE {table} SET {assigned} WHERE {_quoted(key)} = %s",  # noqa: S608
        rows,
    )
    return len(rows)


def delete(
    model: type[Model], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> int:
    """Delete the rows that have these values in these columns."""
    if not rows:
        return 0
    table = _quoted(model._meta.db_table)
    if connection.vendor == "postgresql":
        same = " AND ".join(
            f"{table}.{_quoted(c)} = source.{_quoted(c)}" for c in columns
        )
        with _source(model, columns, rows) as source:
            later(
                f"DELETE FROM {table} USING {source.table} WHERE {same}",  # noqa: S608
                source.values,
            )
        return len(rows)
    conditions = " AND ".join(f"{_quoted(column)} = %s" for column in columns)
    _many(f"DELETE FROM {table} WHERE {conditions}", rows)  # noqa: S608
    return len(rows)


def wait_for_first_loads() -> None:
    """Have others that fill empty tables end first. Call it as a transaction begins.

    Of two that find the same table empty each would wait on PostgreSQL until the other
    lets go of it. SQLite has one writer at a time.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [FIRST_LOADS])


@contextmanager
def first_load(model: type[Model]) -> Iterator[None]:
    """Index an empty table after rows were written; leave any other as it is.

    Call it in a transaction. Of a table with rows its indexes are of use meanwhile.
    """
    if model._default_manager.exists():
        yield
        return
    indexes = _take_indexes(model._meta.db_table)
    yield
    with connection.cursor() as cursor:
        for statement in indexes:
            cursor.execute(statement)
    analyze(model)


def analyze(model: type[Model]) -> None:
    """Tell the planner what a table holds: else it plans for an empty one.

    PostgreSQL does so by itself in time, SQLite never. Without it SQLite reads everybody
    who is present by the index on the state, where it was asked for thirty by number.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # https://www.sqlite.org/lang_analyze.html#approx
            cursor.execute(f"PRAGMA analysis_limit = {ANALYZED}")
        else:
            # A sample of a tenth: it has to do until PostgreSQL looks by itself.
            cursor.execute("SET LOCAL default_statistics_target = 10")
        cursor.execute(f"ANALYZE {_quoted(model._meta.db_table)}")


def analyze_keys(model: type[Model]) -> None:
    """As `analyze`, of a table that is asked by its keys alone: a small sample will do.

    Until PostgreSQL does so by itself it takes a table for as small as it was, and reads
    all of it for each question.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL default_statistics_target = 10")
        analyze(model)


def _take_indexes(table: str) -> list[str]:
    """Drop what indexes a table and return the statements that make it anew."""
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
                " AND tbl_name = %s AND sql IS NOT NULL",
                [table],
            )
            found = cursor.fetchall()
            for name, _statement in found:
                cursor.execute(f"DROP INDEX {_quoted(name)}")
            statements = [statement for _name, statement in found]
            return statements + _take_trigrams(table)
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype IN ('p', 'u') ORDER BY contype",
            [f'"{table}"'],
        )
        constraints = cursor.fetchall()
        statements = []
        for name, definition in constraints:
            altered = f"ALTER TABLE {_quoted(table)}"
            cursor.execute(f"{altered} DROP CONSTRAINT {_quoted(name)}")
            statements.append(f"{altered} ADD CONSTRAINT {_quoted(name)} {definition}")
        # Those of the constraints have just gone with them.
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes"
            " WHERE schemaname = current_schema() AND tablename = %s",
            [table],
        )
        for name, definition in cursor.fetchall():
            cursor.execute(f"DROP INDEX {_quoted(name)}")
            statements.append(definition)
        return statements


def _take_trigrams(table: str) -> list[str]:
    """Stop indexing texts row by row (SQLite); return what indexes all of them."""
    index = f"{table}_trigrams"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name = %s",
            [f"{index}_added"],
        )
        found = cursor.fetchone()
        if found is None:
            return []
        cursor.execute(f"DROP TRIGGER {_quoted(found[0])}")
    # https://www.sqlite.org/fts5.html#the_rebuild_command
    told = f"INSERT INTO {_quoted(index)} ({_quoted(index)}"
    return [
        # Written in few pieces, as each is looked through by every search.
        f"{told}, rank) VALUES ('hashsize', {TRIGRAMS_AT_ONCE})",
        f"{told}) VALUES ('rebuild')",
        found[1],
    ]


@contextmanager
def _copy(cursor: Any, statement: str) -> Iterator[Any]:
    """COPY whose errors are Django's: a full disk is the database's, and no defect."""
    send()
    with connection.wrap_database_errors, cursor.copy(statement) as copy:
        yield copy


class _Source(NamedTuple):
    """What a statement takes rows from, called `source`, and the statement's values."""

    table: str
    values: list[Any]


@contextmanager
def _source(
    model: type[Model], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Iterator[_Source]:
    """Have a statement of PostgreSQL take rows: few from its values, which takes one
    message, and many from a temporary table with columns like the model's."""
    if len(rows) < BY_TABLE:
        types = _types(model)
        arrays = ", ".join(f"%s::{types[column]}[]" for column in columns)
        yield _Source(
            f"unnest({arrays}) AS source ({_listed(columns)})",
            [_array(values) for values in zip(*rows, strict=True)],
        )
        return
    name = _quoted(f"staging_{model._meta.db_table}")
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {_listed(columns)}"  # noqa: S608
            f" FROM {_quoted(model._meta.db_table)} WITH NO DATA"
        )
        with _copy(cursor, f"COPY {name} ({_listed(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        yield _Source(f"{name} AS source", [])
        cursor.execute(f"DROP TABLE {name}")


def _array(values: Sequence[Any]) -> Any:
    """Return values as a parameter that PostgreSQL casts to an array.

    One text, where there is nothing to escape in it: psycopg looks at each value of a
    list, which takes several times as long as the database does with them.
    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-INPUT
    """
    match [*set(map(type, values))]:
        case [kind] if kind is int:
            return f"{{{','.join(map(str, values))}}}"
        case [kind] if kind is datetime:
            return f"{{{','.join(map(datetime.isoformat, values))}}}"
        case [kind] if kind is bytes:
            # https://www.postgresql.org/docs/current/datatype-binary.html
            told = '","'.join("\\\\x" + value.hex() for value in values)
            return f'{{"{told}"}}'
        case [kind] if kind is str:
            told = '","'.join(values)
            if "\\" not in told and told.count('"') == 2 * len(values) - 2:
                return f'{{"{told}"}}'
    return list(values)


@cache
def _types(model: type[Model]) -> dict[str, str]:
    """Return the type of each column, without its length: a cast would cut what is
    longer, which is an error where it is written."""
    return {
        field.column: (field.db_type(connection) or "").partition("(")[0]
        for field in model._meta.concrete_fields
    }


def moment(value: datetime) -> Any:
    """Return a moment as this database takes it: SQLite keeps texts."""
    return connection.ops.adapt_datetimefield_value(value)


def _many(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor:
        for some in chunks(rows, WRITTEN_AT_ONCE):
            cursor.executemany(statement, some)


# Both databases quote alike, and a small sync asks this some two hundred times.
@cache
def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(_quoted(column) for column in columns)
