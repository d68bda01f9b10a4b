"""Steps that sync: the first read of a console, and everything after it."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import Max, Q
from django.http import QueryDict
from django.utils import timezone
from pyroaring import BitMap

from directory import credentials, lists, tokens
from directory.clouds import cloud
from directory.entra import EntraSession, GraphClient
from directory.models import (
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    GuardLimits,
    ObservedHash,
    SyncRun,
)
from directory.models import DirectoryObject as Number
from directory.models import GroupOtherMember as OtherMember
from directory.sync import request_sync
from directory.sync.nesting import closure
from directory.sync.rebuild import with_nested
from directory.sync.run import work
from directory.sync.selection import selection_of
from jamfidp.bench import floors
from jamfidp.bench.control import Control
from jamfidp.bench.costs import Costs

Given = dict[str, Any]
# What the directory is kept in; runs and staged pages come and go.
DIRECTORY = (
    DirectoryUser,
    DirectoryGroup,
    DirectoryMembership,
    GroupNesting,
    OtherMember,
    GroupClosure,
    GroupBitmap,
    Number,
    ObservedHash,
)
TERMS = 60
# A text that more people have than a page shows is not rare.
RARE = 50
EQUAL_GROUPS = 250
DEPTH = 0.999


def _connected(given: Given) -> CloudIdentityProvider:
    """Connect the sandbox's tenant, as the wizard would."""
    facts, now = given["facts"], timezone.now()
    tenant, application = facts["tenants"][0], facts["application"]
    registration = ApplicationRegistration.objects.create(
        cloud="SANDBOX", client_id=application["client_id"], changed_at=now
    )
    credentials.add_secret(
        registration,
        secret=application["client_secret"],
        expires_at=None,
        actor=None,
        now=now,
    )
    idp = CloudIdentityProvider.objects.create(
        display_name=tenant["display_name"],
        cloud="SANDBOX",
        tenant_id=tenant["id"],
        tenant_name=tenant["display_name"],
        consented_by_object_id="",
        consented_at=now,
        status_since=now,
    )
    AttributeMappings.objects.create(
        cloud_idp=idp, building="city", room="officeLocation"
    )
    return idp


def _sync(
    idp: CloudIdentityProvider,
    kind: SyncRun.Kind,
    trigger: SyncRun.Trigger = SyncRun.Trigger.SCHEDULE,
) -> tuple[float, SyncRun]:
    """Read once; return seconds from the request to the end, and the run."""
    began = time.perf_counter()
    run = request_sync(
        cloud_idp=idp,
        kind=kind,
        trigger=trigger,
        actor=None,
        now=timezone.now(),
    )
    work(run.pk)
    seconds = time.perf_counter() - began
    run.refresh_from_db()
    if run.state != SyncRun.State.SUCCEEDED or run.kind != kind:
        raise RuntimeError(f"{run.get_kind_display()}: {run.state} {run.error}")
    return seconds, run


def initial(given: Given) -> dict[str, Any]:
    idp, costs = _connected(given), Costs()
    with costs.counted():
        seconds, run = _sync(idp, SyncRun.Kind.FULL, SyncRun.Trigger.CONNECTED)
    return {
        "seconds": seconds,
        "costs": costs.seconds,
        "lock": run.write_lock_seconds,
        "phases": run.phases,
        "counted": {
            "people": run.users_read,
            "groups": run.groups_read,
            "memberships": run.memberships_read,
            "pages": run.pages,
        },
    }


def steady(given: Given) -> dict[str, Any]:
    """Measure everything that a first read came before; `wanted` says what."""
    bench = _Steady(given)
    measures: dict[str, Callable[[], dict[str, float]]] = {
        "fetch": bench.fetch,
        "unchanged": bench.unchanged,
        "unchanged-rows": bench.unchanged_rows,
        "slow-unchanged": bench.slow_unchanged,
        "closure": bench.closure,
        "bytes": bench.bytes_of_memberships,
        "search": bench.search,
        "depth": bench.depth,
        "equal": bench.equal,
        "deltas": bench.deltas,
    }
    measured: dict[str, float] = {}
    for name, measure in measures.items():
        if name in given["wanted"]:
            measured |= measure()
    return {"measured": measured, "said": bench.said, "locks": bench.locks}


class _Steady:
    """A console that has read its directory once."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._rounds: int = given["rounds"]
        self._starts: dict[str, str] = given["starts"]
        self._control = Control(given["facts"])
        self._idp = CloudIdentityProvider.objects.get()
        self._http = floors.connect(given["facts"])
        self._unchanged = 0.0
        # In words and numbers: what ratios are made of.
        self.said: dict[str, float] = {}
        self.locks: dict[str, float] = {}

    def _floor(self, *kinds: str) -> float:
        # Kept open while the console had its turn, the server would have closed it.
        self._http.close()
        self._http.connect()
        reader = floors.Reader(self._http, self._given["token"])
        for kind in kinds or ("users", "groups"):
            reader.count(self._starts[kind])
        return reader.seconds

    def _full(self) -> float:
        seconds, run = _sync(self._idp, SyncRun.Kind.FULL)
        self.locks["full resync without changes"] = run.write_lock_seconds or 0
        return seconds

    def fetch(self) -> dict[str, float]:
        properties = selection_of(self._idp).properties
        ours, floor = [], []
        with EntraSession(cloud("SANDBOX")) as session:
            graph = GraphClient(
                cloud=cloud("SANDBOX"),
                tokens=tokens.for_connection(self._idp, session=session),
                session=session,
            )

            def read() -> int:
                # As a sync does while the limit on requests is far.
                pages = graph.users_delta(properties=properties, ahead=lambda: True)
                return sum(len(page.items) for page in pages)

            pages = sum(1 for _page in graph.users_delta(properties=properties))
            for _ in range(max(5, self._rounds)):
                floor.append(self._floor("users"))
                ours.append(_seconds(read))
        self.said["people: fetch and parse"] = statistics.median(ours)
        self.said["people: floor of it"] = statistics.median(floor)
        return {
            "fetch": statistics.median(ours) / statistics.median(floor),
            "page-seconds": statistics.median(ours) / pages,
        }

    def unchanged(self) -> dict[str, float]:
        full, floor = [], []
        self._full()
        for _ in range(self._rounds):
            floor.append(self._floor())
            full.append(self._full())
        self._unchanged = statistics.median(full)
        self.said["full resync without changes"] = self._unchanged
        self.said["floor of fetch and parse"] = statistics.median(floor)
        return {"unchanged": self._unchanged / statistics.median(floor)}

    def unchanged_rows(self) -> dict[str, float]:
        with _counted() as rows:
            self._full()
            written = rows()
        return {"unchanged-rows": written}

    def slow_unchanged(self) -> dict[str, float]:
        chain = self._given["longest_chain"] * self._given["delay_ms"] / 1000
        with self._control.delay(self._given["delay_ms"]):
            seconds = statistics.median(self._full() for _ in range(3))
        self.said["full resync, slow"] = seconds
        self.said["longest chain, slow"] = chain
        return {"slow-unchanged": seconds / chain}

    def closure(self) -> dict[str, float]:
        """From edges and the bitmaps of direct members to everybody in each group."""
        edges = list(GroupNesting.objects.values_list("parent_id", "child_id"))
        direct = {each.pk: each.users(nested=False) for each in _bitmaps()}
        took, floor = [], []
        for _ in range(max(5, self._rounds)):
            took.append(_seconds(lambda: with_nested(direct, closure(edges))))
            floor.append(self._floor())
        self.said["closure"] = statistics.median(took)
        return {
            "closure": statistics.median(took) / statistics.median(floor),
            "closure-seconds": statistics.median(took),
        }

    def bytes_of_memberships(self) -> dict[str, float]:
        tables = [m._meta.db_table for m in (DirectoryMembership, GroupBitmap)]
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute(
                    "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM"
                    " sqlite_master WHERE tbl_name IN (%s, %s))",
                    tables,
                )
            else:
                cursor.execute(
                    "SELECT sum(pg_total_relation_size(name::regclass))"
                    " FROM unnest(%s::text[]) AS name",
                    [tables],
                )
            stored = float(cursor.fetchone()[0])
        return {"bytes": stored / DirectoryMembership.objects.count()}

    def search(self) -> dict[str, float]:
        found, scanned = [], []
        for term in self._rare_terms():
            found.append(_seconds(partial(_listed, q=term)))
            scan = DirectoryUser.objects.filter(
                Q(display_name__icontains=term) | Q(user_principal_name__icontains=term)
            )
            scanned.append(_seconds(partial(list, scan[:51])))
        self.said["search"] = statistics.median(found)
        self.said["scan"] = statistics.median(scanned)
        return {"search": statistics.median(found) / statistics.median(scanned)}

    def _rare_terms(self) -> list[str]:
        """Take texts out of the middle of names that few people have."""
        last = DirectoryUser.objects.aggregate(last=Max("pk"))["last"]
        terms: list[str] = []
        for number in range(1, last, max(1, last // (TERMS * 20))):
            name = (
                DirectoryUser.objects.filter(pk=number)
                .values_list("user_principal_name", flat=True)
                .first()
            )
            local = (name or "").partition("@")[0].lower()
            term = local[1:] if len(local) > 4 else ""
            if (
                term
                and DirectoryUser.objects.filter(search__contains=term).count() <= RARE
            ):
                terms.append(term)
            if len(terms) == TERMS:
                return terms
        return terms

    def depth(self) -> dict[str, float]:
        people = DirectoryUser.objects.present()
        # So deep that the page is still a whole one.
        deep = min(int(people.count() * DEPTH), people.count() - 2 * lists.PAGE_SIZE)
        row = people.order_by("sort_key", "pk")[deep - lists.PAGE_SIZE]
        page = lists.users(QueryDict()).page(people.filter(sort_key__gte=row.sort_key))
        ours, first = [], []
        for _ in range(60):
            first.append(_seconds(_listed))
            ours.append(_seconds(partial(_listed, after=page.next)))
        self.said["first page"] = statistics.median(first)
        return {"depth": statistics.median(ours) / statistics.median(first)}

    def equal(self) -> dict[str, float]:
        stored = {each.pk: each.users(nested=True) for each in _bitmaps()}
        by_closure, by_recursion = _in_sql(_CLOSURE), _in_sql(_RECURSIVE)
        groups = _groups_to_compare(stored)
        same = sum(
            stored.get(group, BitMap()) == by_closure(group) == by_recursion(group)
            for group in groups
        )
        return {"equal": 100 * same / len(groups)}

    def deltas(self) -> dict[str, float]:
        measured = {}
        unchanged = self._unchanged or statistics.median(
            self._full() for _ in range(self._rounds)
        )
        _hold_nothing(self._idp)
        _sync(self._idp, SyncRun.Kind.DELTA)
        hundredth = DirectoryMembership.objects.count() // 100
        for name, count, words in (
            ("ten", 10, "delta of 10 changes"),
            ("hundredth", hundredth, "delta of 1 %"),
        ):
            took, costs = [], Costs()
            for _ in range(max(5, self._rounds)):
                self._control.change(count)
                costs = Costs()
                with costs.counted():
                    seconds, run = _sync(self._idp, SyncRun.Kind.DELTA)
                took.append(seconds)
                self.locks[words] = run.write_lock_seconds or 0
            self.said[words] = statistics.median(took)
            for promise, spent in costs.seconds.items():
                self.said[f"of a {words}, {promise}"] = spent
            measured[name] = 100 * statistics.median(took) / unchanged
        return measured


def _hold_nothing(idp: CloudIdentityProvider) -> None:
    """Have all of a large change applied: by the usual limits it would be held."""
    GuardLimits.objects.create(
        cloud_idp=idp,
        **{
            f"{what}_{how}": most
            for what in ("people", "memberships", "members")
            for how, most in (("percent", 100), ("absolute", 1_000_000_000))
        },
    )


def _seconds(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def _listed(**query: str) -> None:
    """Ask for a page of people as the list does."""
    asked = QueryDict(mutable=True)
    asked.update(query)
    listing = lists.users(asked)
    listing.page(listing.rows(DirectoryUser.objects.all()))


def _bitmaps() -> Iterator[GroupBitmap]:
    yield from GroupBitmap.objects.iterator(2000)


# --- Counting what is written


@contextmanager
def _counted() -> Iterator[Callable[[], int]]:
    """Count the rows of the directory's tables that are written meanwhile."""
    tables = [model._meta.db_table for model in DIRECTORY]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_written (n integer)")
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION bench_write() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO bench_written VALUES (1); RETURN NULL; END'"
            )
        for table in tables:
            if connection.vendor == "postgresql":
                cursor.execute(
                    f"CREATE TRIGGER bench AFTER INSERT OR UPDATE OR DELETE ON {table}"
                    " FOR EACH ROW EXECUTE FUNCTION bench_write()"
                )
                continue
            for event in ("INSERT", "UPDATE", "DELETE"):
                cursor.execute(
                    f"CREATE TRIGGER bench_{table}_{event} AFTER {event} ON {table}"  # noqa: S608
                    " BEGIN INSERT INTO bench_written VALUES (1); END"
                )

        def written() -> int:
            with connection.cursor() as counting:
                counting.execute("SELECT count(*) FROM bench_written")
                return int(counting.fetchone()[0])

        yield written
        for table in tables:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER bench ON {table}")
                continue
            for event in ("INSERT", "UPDATE", "DELETE"):
                cursor.execute(f"DROP TRIGGER bench_{table}_{event}")
        cursor.execute("DROP TABLE bench_written")


# --- Who is in a group, in three ways

_PRESENT = (
    "JOIN directory_directoryuser u ON u.id = m.user_id AND u.state = 'PRESENT'"
    " JOIN directory_directorygroup g ON g.id = m.group_id AND g.state = 'PRESENT'"
)
_CLOSURE = (
    "SELECT DISTINCT m.user_id FROM directory_directorymembership m"  # noqa: S608
    f" {_PRESENT} WHERE m.group_id = %s OR m.group_id IN (SELECT descendant_id"
    " FROM directory_groupclosure WHERE ancestor_id = %s)"
)
_RECURSIVE = (
    "WITH RECURSIVE below (id, own) AS (SELECT CAST(%s AS integer), CAST(%s AS integer)"  # noqa: S608
    " UNION SELECT n.child_id, below.own FROM directory_groupnesting n"
    " JOIN below ON n.parent_id = below.id)"
    f" SELECT DISTINCT m.user_id FROM directory_directorymembership m {_PRESENT}"
    " WHERE m.group_id IN (SELECT id FROM below)"
)


def _in_sql(statement: str) -> Callable[[int], BitMap]:
    def users(group: int) -> BitMap:
        with connection.cursor() as cursor:
            cursor.execute(statement, [group, group])
            return BitMap(row[0] for row in cursor.fetchall())

    return users


def _groups_to_compare(stored: dict[int, BitMap]) -> list[int]:
    """Choose groups of every kind: in cycles, with nested ones, empty, any."""
    pairs = set(GroupClosure.objects.values_list("ancestor_id", "descendant_id"))
    cycles = sorted({above for above, below in pairs if (below, above) in pairs})
    nested = sorted({above for above, _below in pairs})
    empty = [group for group, users in sorted(stored.items()) if not users]
    present = DirectoryGroup.objects.present().order_by("pk")
    groups = list(present.values_list("pk", flat=True))
    some = EQUAL_GROUPS // 5
    chosen = [*cycles[:some], *_spread(nested, 2 * some), *empty[:some]]
    chosen += _spread(groups, EQUAL_GROUPS)
    held = set(groups)
    return [each for each in dict.fromkeys(chosen) if each in held][:EQUAL_GROUPS]


def _spread(values: list[int], count: int) -> list[int]:
    step = max(1, len(values) // count)
    return values[::step][:count]
