"""The floors: the best plain code for the same server, pages and rows.

One connection of http.client and orjson reads a round; sqlite3 or psycopg write what is
on its pages, and nothing else: no history, no holds, no search, nothing to go on with
after a crash. Knows no Django.
"""

import http.client
import sqlite3
import ssl
import time
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
import psycopg

Json = dict[str, Any]
_USER = "#microsoft.graph.user"
_GROUP = "#microsoft.graph.group"

# With the number: twelve columns of a person.
USER_COLUMNS = (
    "id",
    "displayName",
    "userPrincipalName",
    "mail",
    "accountEnabled",
    "userType",
    "department",
    "jobTitle",
    "mobilePhone",
    "officeLocation",
    "city",
)
GROUP_COLUMNS = (
    "id",
    "displayName",
    "description",
    "mail",
    "mailEnabled",
    "securityEnabled",
    "membershipRule",
    "isAssignableToRole",
    "visibility",
)


def connect(facts: Json) -> http.client.HTTPSConnection:
    """Connect to a sandbox by what it says of itself."""
    return http.client.HTTPSConnection(
        "127.0.0.1",
        urlsplit(facts["url"]).port,
        context=ssl.create_default_context(cafile=facts["ca_file"]),
    )


class Reader:
    """The plainest reader there is: one connection, one page after the other.

    `seconds` and `pages` are of asking and parsing alone, since it was made.
    """

    def __init__(self, connection: http.client.HTTPSConnection, token: str) -> None:
        self._connection = connection
        self._headers = {
            "Authorization": f"Bearer {token}",
            # On loopback nothing is gained by having less to read.
            "Accept-Encoding": "identity",
        }
        self.seconds = 0.0
        self.pages = 0

    def read(self, start: str) -> Iterator[list[Json]]:
        target = start
        while target:
            began = time.perf_counter()
            self._connection.request("GET", target, headers=self._headers)
            answer = self._connection.getresponse()
            page = orjson.loads(answer.read())
            self.seconds += time.perf_counter() - began
            self.pages += 1
            if answer.status != 200:
                raise RuntimeError(f"{target}: {answer.status} {page}")
            yield page["value"]
            link = page.get("@odata.nextLink", "")
            target = link[link.index("/v1.0/") :] if link else ""

    def count(self, start: str) -> int:
        """Read a round to its end and return how many entries it had."""
        return sum(map(len, self.read(start)))


class Tables(Protocol):
    """Scratch tables of one database."""

    def people(self, rows: list[tuple[Any, ...]]) -> None: ...

    def groups(self, rows: list[tuple[Any, ...]]) -> None: ...

    def memberships(self, members: dict[int, list[int]]) -> None: ...

    def nesting(self, pairs: list[tuple[int, int]]) -> None: ...

    def commit(self) -> None: ...


class Writer:
    """Gives numbers to object ids and hands rows to the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._numbers: dict[str, int] = {}
        self._members: dict[int, list[int]] = defaultdict(list)
        self._nesting: list[tuple[int, int]] = []
        self.seconds = 0.0

    def users(self, items: Sequence[Json]) -> None:
        began = time.perf_counter()
        number = self._number
        self._tables.people(
            [(number(item["id"]), *map(item.get, USER_COLUMNS)) for item in items]
        )
        self.seconds += time.perf_counter() - began

    def groups(self, items: Sequence[Json]) -> None:
        began = time.perf_counter()
        # A group with many members comes in several slices.
        rows = {}
        for item in items:
            group = self._number(item["id"])
            rows[group] = (group, *map(item.get, GROUP_COLUMNS))
            for member in item.get("members@delta", ()):
                kind = member["@odata.type"]
                if kind == _USER:
                    self._members[group].append(self._number(member["id"]))
                elif kind == _GROUP:
                    self._nesting.append((group, self._number(member["id"])))
        self._tables.groups(list(rows.values()))
        self.seconds += time.perf_counter() - began

    def finish(self) -> None:
        began = time.perf_counter()
        self._tables.memberships(self._members)
        self._tables.nesting(self._nesting)
        self._tables.commit()
        self.seconds += time.perf_counter() - began

    def _number(self, object_id: str) -> int:
        return self._numbers.setdefault(object_id, len(self._numbers) + 1)


def _create(key: str) -> Iterator[str]:
    people = ", ".join(f'"{name}" text' for name in USER_COLUMNS[1:])
    groups = ", ".join(f'"{name}" text' for name in GROUP_COLUMNS[1:])
    yield f'CREATE TABLE bench_user (n {key}, "id" text UNIQUE, {people})'
    yield f'CREATE TABLE bench_group (n {key}, "id" text UNIQUE, {groups})'


def _upsert(table: str, columns: Sequence[str], before: str, after: str) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    assigned = ", ".join(f'"{name}" = excluded."{name}"' for name in columns)
    old = ", ".join(f'{table}."{name}"' for name in columns)
    new = ", ".join(f'excluded."{name}"' for name in columns)
    return (
        f"INSERT INTO {table} (n, {names}) {before} ON CONFLICT (n) DO UPDATE"
        f" SET {assigned} WHERE ({old}) {after} ({new})"
    )


class SqliteTables:
    """executemany with an upsert that skips what is as it was; json_each for members."""

    def __init__(self, file: str) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA cache_size=-16384")
        self._db.execute("PRAGMA synchronous=NORMAL")
        for statement in _create("integer PRIMARY KEY"):
            self._db.execute(statement)
        self._db.execute(
            "CREATE TABLE bench_member (g integer, u integer, PRIMARY KEY (g, u))"
            " WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE bench_nesting (g integer, c integer)")
        self._db.execute("BEGIN IMMEDIATE")

    def people(self, rows: list[tuple[Any, ...]]) -> None:
        self._many("bench_user", USER_COLUMNS, rows)

    def groups(self, rows: list[tuple[Any, ...]]) -> None:
        self._many("bench_group", GROUP_COLUMNS, rows)

    def _many(
        self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]
    ) -> None:
        marks = ", ".join("?" * (len(columns) + 1))
        self._db.executemany(
            _upsert(table, columns, f"VALUES ({marks})", "IS NOT"), rows
        )

    def memberships(self, members: dict[int, list[int]]) -> None:
        for group in sorted(members):
            self._db.execute(
                "INSERT OR IGNORE INTO bench_member SELECT ?, value FROM json_each(?)",
                (group, orjson.dumps(sorted(members[group]))),
            )
        self._db.execute("CREATE INDEX bench_member_user ON bench_member (u, g)")

    def nesting(self, pairs: list[tuple[int, int]]) -> None:
        self._db.executemany("INSERT INTO bench_nesting VALUES (?, ?)", pairs)

    def commit(self) -> None:
        self._db.execute("COMMIT")
        self._db.close()


class PostgresTables:
    """COPY into a staging table and an upsert from it; memberships by COPY, then keys."""

    def __init__(self, url: str) -> None:
        self._db = psycopg.connect(url)
        self._cursor = self._db.cursor()
        for statement in _create("integer PRIMARY KEY"):
            self._cursor.execute(statement.encode())
        self._cursor.execute("CREATE TABLE bench_member (g int, u int)")
        self._cursor.execute("CREATE TABLE bench_nesting (g int, c int)")
        for table in ("bench_user", "bench_group"):
            self._cursor.execute(
                f"CREATE TEMPORARY TABLE {table}_staging (LIKE {table})".encode()
            )
        self._staged: dict[str, int] = defaultdict(int)
        self._people: list[tuple[Any, ...]] = []
        self._groups: dict[int, tuple[Any, ...]] = {}

    def people(self, rows: list[tuple[Any, ...]]) -> None:
        self._people += rows

    def groups(self, rows: list[tuple[Any, ...]]) -> None:
        self._groups |= {row[0]: row for row in rows}

    def memberships(self, members: dict[int, list[int]]) -> None:
        self._stage("bench_user", USER_COLUMNS, self._people)
        self._stage("bench_group", GROUP_COLUMNS, self._groups.values())
        with self._cursor.copy("COPY bench_member FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "int4"])
            for group, users in members.items():
                for user in array("i", sorted(set(users))):
                    copy.write_row((group, user))
        self._cursor.execute("ALTER TABLE bench_member ADD PRIMARY KEY (g, u)")
        self._cursor.execute("CREATE INDEX ON bench_member (u, g)")

    def _stage(
        self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
    ) -> None:
        with self._cursor.copy(f"COPY {table}_staging FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)
        names = ", ".join(f'"{name}"' for name in columns)
        selected = f"SELECT n, {names} FROM {table}_staging"  # noqa: S608
        self._cursor.execute(
            _upsert(table, columns, selected, "IS DISTINCT FROM").encode()
        )

    def nesting(self, pairs: list[tuple[int, int]]) -> None:
        with self._cursor.copy("COPY bench_nesting FROM STDIN") as copy:
            for pair in pairs:
                copy.write_row(pair)

    def commit(self) -> None:
        self._db.commit()
        self._db.close()


def initial(
    connection: http.client.HTTPSConnection,
    token: str,
    starts: dict[str, str],
    tables: Tables,
) -> dict[str, float]:
    """Read everything and insert it; return seconds of both, and pages."""
    with closing(connection):
        reader, writer = Reader(connection, token), Writer(tables)
        for items in reader.read(starts["users"]):
            writer.users(items)
        users_pages = reader.pages
        for items in reader.read(starts["groups"]):
            writer.groups(items)
        writer.finish()
    return {
        "fetch": reader.seconds,
        "write": writer.seconds,
        "longest_chain": max(users_pages, reader.pages - users_pages),
    }
