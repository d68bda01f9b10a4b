"""How directory rows are stored: what Django's models cannot say, and its use."""

from __future__ import annotations

import random
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directory import deletion
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupBitmap,
    GroupClosure,
    GroupNesting,
    ObservedHash,
    StagedPage,
    SyncRun,
)
from directory.search import RARE, matching
from directory.sync import rows
from directory.sync.attributes import fold
from directory.sync.lease import Lease
from directory.sync.numbers import Register
from directory.sync.rows import first_load, insert
from jamfidp.compiled import asked_together
from jamfidp.gathered import gathered
from jamfidp.keyset import page
from tests import factories

sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's own")
postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="PostgreSQL's own"
)

SLIM = (DirectoryMembership, GroupNesting, GroupClosure)


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    return factories.cloud_idp()


def asked(statement: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [row[0] for row in cursor.fetchall()]


def planned(statement: str) -> str:
    """How SQLite goes about it."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement.replace('%', '%%')}")
        return " ".join(row[3] for row in cursor.fetchall())


@sqlite
@pytest.mark.parametrize("model", SLIM)
def test_tables_of_pairs_have_no_rowid(db: None, model: Any) -> None:
    (definition,) = asked(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s",
        model._meta.db_table,
    )

    assert definition.endswith("WITHOUT ROWID")
    assert "REFERENCES" not in definition


@postgresql
def test_tables_of_pairs_hold_two_integers_of_four_bytes_and_no_foreign_key(
    db: None,
) -> None:
    for model in SLIM:
        table = model._meta.db_table
        types = asked(
            "SELECT data_type FROM information_schema.columns WHERE table_name = %s",
            table,
        )
        foreign = asked(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass"
            " AND contype = 'f'",
            table,
        )
        assert types == ["integer", "integer"]
        assert foreign == []


@postgresql
def test_what_lists_sort_by_is_compared_by_code_point(db: None) -> None:
    collations = asked(
        "SELECT collation_name FROM information_schema.columns WHERE table_name LIKE"
        " 'directory_directory%%' AND column_name IN ('sort_key', 'user_name_key')"
    )

    assert collations == ["C"] * 3


def numbered(idp: CloudIdentityProvider, ids: list[str]) -> dict[str, int]:
    register = Register(idp, whole=False)
    register.know(dict.fromkeys(ids, DirectoryObject.Kind.USER))
    register.store()
    return register.numbers


def test_a_number_is_given_at_first_sight_and_never_twice(
    fernhill: CloudIdentityProvider,
) -> None:
    ids = [factories.guid(f"object {n}") for n in range(1200)]

    first = numbered(fernhill, ids[:1000])
    again = numbered(fernhill, ids[::-1])
    whole = Register(fernhill, whole=True)
    whole.load()

    assert {object_id: again[object_id] for object_id in first} == first
    assert len(set(again.values())) == 1200
    assert whole.numbers == again

    DirectoryObject.objects.filter(object_id=ids[-1]).delete()
    anew = numbered(fernhill, [ids[-1]])
    assert anew[ids[-1]] not in again.values()


def test_hashes_come_with_numbers_and_only_of_whom_is_compared(
    fernhill: CloudIdentityProvider,
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    ids = [factories.guid(f"object {n}") for n in range(3)]
    known, without, named = numbered(fernhill, ids).values()
    for cloud_idp, number, value in (
        (fernhill, known, -5),
        (fernhill, named, 6),
        (quarrel, without, 7),
    ):
        ObservedHash.objects.create(cloud_idp=cloud_idp, number=number, value=value)
    register = Register(fernhill, whole=False)

    with CaptureQueriesContext(connection) as queries:
        register.know(dict.fromkeys(ids, DirectoryObject.Kind.USER))
        register.know_hashes([known, without])
    assert len(queries) == 1
    assert register.hashes == {known: -5}

    register.know_hashes([named])
    assert register.hashes == {known: -5, named: 6}


def test_rows_are_read_by_a_set_of_values_and_by_what_they_share(
    fernhill: CloudIdentityProvider,
) -> None:
    other = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    numbers = {
        each.object_id: each.pk
        for each in DirectoryObject.objects.bulk_create(
            DirectoryObject(
                cloud_idp=fernhill, object_id=factories.guid(str(n)), kind="U"
            )
            for n in range(2000)
        )
    }
    DirectoryObject.objects.create(
        cloud_idp=other, object_id=factories.guid("1"), kind="U"
    )
    wanted = [factories.guid(str(n)) for n in range(1, 1500)]

    def found(*values: str, **same: Any) -> dict[str, int]:
        return dict(
            rows.read(DirectoryObject, ("object_id", "id"), "object_id", values, **same)
        )

    assert found(*wanted, factories.guid("nobody"), cloud_idp_id=fernhill.pk) == {
        each: numbers[each] for each in wanted
    }
    assert found("'); DROP TABLE", '"]', "") == {}
    with CaptureQueriesContext(connection) as queries:
        assert found() == {}
        assert found(*wanted, kind="G") == {}
    assert len(queries) == 1
    by_kind = rows.read(
        DirectoryObject, ("kind",), "id", numbers.values(), distinct=True
    )
    assert by_kind == [("U",)]


def test_of_nobody_nothing_is_asked_and_what_is_asked_ahead_is_known(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana", fernhill).pk
    names = (DirectoryUser, ("display_name",), "id")
    ahead = [rows.reading(*names, [ana, 0]), rows.reading(*names, [])]

    with CaptureQueriesContext(connection) as queries, asked_together(ahead):
        assert rows.read(*names, []) == []
        # Whatever the order.
        assert rows.read(*names, [0, ana]) == [("Ana",)]
        assert rows.read(*names, [0]) == []
    assert [each["sql"].count("SELECT") for each in queries.captured_queries] == [
        # SQLite is given its values by a query.
        1 if connection.vendor == "postgresql" else 2
    ] * 2


ODD = ("NULL", "", '"', "\\", "a,b", "{}", "two\nlines", "100 %", "'", "é🦊", "\\N")


@pytest.mark.parametrize("count", [len(ODD), 600])
def test_texts_are_written_as_they_are_however_many(
    fernhill: CloudIdentityProvider, count: int
) -> None:
    """Few and many rows go other ways, and texts with marks another than those without."""
    people = [factories.directory_user(f"P{n}", fernhill).pk for n in range(count)]
    later = timezone.now()
    for texts in (ODD, ("plain", "two words", "NULL")):
        wanted = {pk: texts[n % len(texts)] for n, pk in enumerate(people)}
        rows.update(
            DirectoryUser,
            ("room", "account_enabled", "changed_at"),
            [(text, None, rows.moment(later), pk) for pk, text in wanted.items()],
        )
        stored = DirectoryUser.objects.values_list("pk", "room", "changed_at")
        assert {pk: (room, at) for pk, room, at in stored} == {
            pk: (text, later) for pk, text in wanted.items()
        }


@pytest.mark.parametrize("size", [10, 2 * rows.SPELLED_OUT])
def test_few_rows_go_with_the_next_statement_unless_they_are_large(
    fernhill: CloudIdentityProvider, size: int
) -> None:
    now = rows.moment(timezone.now())
    run = SyncRun.objects.create(
        cloud_idp=fernhill, kind=SyncRun.Kind.FULL, created_at=timezone.now()
    )
    pages = {n: bytes([0, 39, 92, 255]) * size for n in range(3)}
    columns = ("run_id", "format", "resource", "number", "seen", "objects_changed")

    with CaptureQueriesContext(connection) as queries, gathered():
        insert(
            StagedPage,
            (*columns, "members", "next_link", "delta_link", "staged_at"),
            [
                (run.pk, "f", "U", n, page, b"", b"", "", "", now)
                for n, page in pages.items()
            ],
        )
        stored = StagedPage.objects.values_list("number", "seen")
        assert {number: bytes(seen) for number, seen in stored} == pages

    if connection.vendor == "postgresql":
        first, *more = (each["sql"] for each in queries.captured_queries)
        together = first.startswith("INSERT") and not more
        assert together == (size < rows.SPELLED_OUT)


def test_an_object_id_belongs_to_its_connection_alone(
    fernhill: CloudIdentityProvider,
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    same = factories.guid("same")

    here = numbered(fernhill, [same])
    there = numbered(quarrel, [same])

    assert here != there
    with pytest.raises(IntegrityError):
        DirectoryObject.objects.create(cloud_idp=fernhill, object_id=same, kind="U")


NAMES = (
    "Ana Ruiz",
    "ana maría",
    "Ångström Åsa",
    "Zoë",
    "zzz",
    "Ελλάς",
    "Хаддад",
    "ليلى حداد",
    "田中太郎",
    "🦊 Fox",
    "_under",
    "42",
)


def test_every_script_sorts_alike_on_both_databases(
    fernhill: CloudIdentityProvider,
) -> None:
    for name in random.Random(3).sample(NAMES, len(NAMES)):  # noqa: S311
        factories.directory_user(name, fernhill)

    listed = list(
        DirectoryUser.objects.order_by("sort_key").values_list(
            "display_name", flat=True
        )
    )

    assert listed == sorted(NAMES, key=lambda name: fold(name).encode())


def test_pages_by_name_neither_repeat_nor_miss_anybody(
    fernhill: CloudIdentityProvider,
) -> None:
    people = [
        factories.directory_user(f"{name} {n}", fernhill, display_name=name)
        for name in NAMES
        for n in range(3)
    ]
    seen: list[int] = []
    after = ""
    while True:
        found = page(
            DirectoryUser.objects.present(),
            by=F("sort_key"),
            descending=False,
            after=after,
            before="",
            size=5,
        )
        seen += [row.pk for row in found.rows]
        after = found.next
        if not after:
            break

    assert sorted(seen) == sorted(person.pk for person in people)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("uiz", {"Ana Ruiz"}),
        ("ana ru", {"Ana Ruiz"}),
        ("an", {"Ana Ruiz", "ana maría", "Ångström Åsa"}),
        ("am", set()),
        ("太郎", {"田中太郎"}),
        ("حد", {"ليلى حداد"}),
        ("хадд", {"Хаддад"}),
        ("ELLAS", set()),
        ("ελλα", {"Ελλάς"}),
        ('"a', set()),
        ("ruizana", set()),
        ("zz_", set()),
        ("_und", {"_under"}),
        ("%", set()),
    ],
)
def test_people_are_found_by_what_was_typed(
    fernhill: CloudIdentityProvider, typed: str, found: set[str]
) -> None:
    for n, name in enumerate(NAMES):
        factories.directory_user(
            name, fernhill, search=fold(name), user_principal_name=f"{n}@x"
        )

    shown = matching(DirectoryUser.objects.all(), typed)

    assert {person.display_name for person in shown} == found


def test_a_name_with_all_trigrams_of_a_word_but_not_the_word_is_not_found(
    fernhill: CloudIdentityProvider,
) -> None:
    factories.directory_user("Ana Ruiz", fernhill, search="ana zanabria ruiz")

    assert not matching(DirectoryUser.objects.all(), "ruizana")
    assert not matching(DirectoryUser.objects.all(), "ruiz zanabrian")


def test_the_trigrams_follow_every_change_of_a_row(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill, search="ana ruiz")
    people = DirectoryUser.objects.all()

    people.filter(pk=ana.pk).update(search="ana díaz", room="4.01")
    assert not matching(people, "ruiz")
    assert matching(people, "díaz").count() == 0, "folded texts hold no marks"
    people.filter(pk=ana.pk).update(search="ana diaz")
    assert matching(people, "Díaz").get() == ana

    group = factories.directory_group("Frontend", fernhill)
    assert matching(DirectoryGroup.objects.all(), "onten").get() == group
    group.delete()
    ana.delete()
    assert not matching(people, "diaz")
    assert not matching(DirectoryGroup.objects.all(), "onten")


@sqlite
def test_a_rare_word_is_found_by_its_trigrams_alone(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill, search="ana ruiz")

    with CaptureQueriesContext(connection) as captured:
        assert matching(DirectoryUser.objects.all(), "ruiz").get() == ana

    assert "MATCH" in captured[0]["sql"]
    assert "INTEGER PRIMARY KEY" in planned(captured[1]["sql"])


@sqlite
def test_a_page_far_down_begins_at_its_place_in_the_index(
    fernhill: CloudIdentityProvider,
) -> None:
    for name in NAMES:
        factories.directory_user(name, fernhill)
    people = DirectoryUser.objects.present()
    first = page(
        people, by=F("sort_key"), descending=False, after="", before="", size=5
    )

    with CaptureQueriesContext(connection) as captured:
        page(
            people,
            by=F("sort_key"),
            descending=False,
            after=first.next,
            before="",
            size=5,
        )

    assert "(state=? AND sort_key>?)" in planned(captured[0]["sql"])


def test_what_fills_an_empty_table_is_found_by_its_trigrams(
    fernhill: CloudIdentityProvider,
) -> None:
    ana = factories.directory_user("Ana Ruiz", fernhill, search="ana ruiz")
    columns = [field.column for field in DirectoryUser._meta.concrete_fields]
    (row,) = DirectoryUser.objects.values_list(*columns)
    DirectoryUser.objects.all().delete()
    people = DirectoryUser.objects.all()

    with first_load(DirectoryUser):
        insert(DirectoryUser, columns, [row])
    assert matching(people, "ruiz").get() == ana

    factories.directory_user("Noor de Wit", fernhill, search="noor de wit")
    assert matching(people, "noor").count() == 1
    people.filter(pk=ana.pk).delete()
    assert not matching(people, "ruiz")


@pytest.fixture
def everybody(fernhill: CloudIdentityProvider) -> None:
    """More people with one text than are rare."""
    now = timezone.now()
    DirectoryUser.objects.bulk_create(
        DirectoryUser(
            id=10_000 + n,
            cloud_idp=fernhill,
            object_id=factories.guid(f"p{n}"),
            state="PRESENT",
            state_since=now,
            search="everybody@fernhill.example",
            first_seen_at=now,
            changed_at=now,
        )
        for n in range(RARE + 1)
    )


@sqlite
def test_a_common_word_is_not_listed_hit_by_hit(everybody: None) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert matching(DirectoryUser.objects.all(), "fernhill").count() == RARE + 1

    assert '"id" IN' not in captured[1]["sql"]


@sqlite
def test_a_rare_word_with_a_common_end_is_found_by_all_its_trigrams(
    fernhill: CloudIdentityProvider, everybody: None
) -> None:
    ana = factories.directory_user("Ana", fernhill, search="ana@ruiz-fernhill.example")

    with CaptureQueriesContext(connection) as captured:
        assert matching(DirectoryUser.objects.all(), "ruiz-fernhill").get() == ana

    assert len(captured) == 3
    assert "INTEGER PRIMARY KEY" in planned(captured[2]["sql"])


def test_deleting_a_connection_leaves_no_row_of_it_and_all_of_others(
    fernhill: CloudIdentityProvider, administrator: Any
) -> None:
    quarrel = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    for idp in (fernhill, quarrel):
        ana = factories.directory_user("Ana Ruiz", idp)
        inner = factories.directory_group("Inner", idp, ana)
        factories.directory_group("Outer", idp, inner)

    deletion.delete(
        fernhill,
        typed_name="Fernhill Studio",
        at_once=True,
        actor=administrator,
        now=timezone.now(),
    )
    assert deletion.erase(fernhill.pk, now=timezone.now)

    counts = {
        model.__name__: model._default_manager.count()
        for model in (
            DirectoryObject,
            DirectoryUser,
            DirectoryGroup,
            DirectoryMembership,
            GroupNesting,
            GroupClosure,
            GroupBitmap,
        )
    }
    assert counts == {
        "DirectoryObject": 3,
        "DirectoryUser": 1,
        "DirectoryGroup": 2,
        "DirectoryMembership": 1,
        "GroupNesting": 1,
        "GroupClosure": 1,
        "GroupBitmap": 2,
    }
    assert {user.cloud_idp for user in DirectoryUser.objects.all()} == {quarrel}


def test_f42_an_upgrade_in_the_middle_of_a_run_begins_it_anew(
    fernhill: CloudIdentityProvider,
) -> None:
    run = SyncRun.objects.create(
        cloud_idp=fernhill,
        kind=SyncRun.Kind.DELTA,
        trigger=SyncRun.Trigger.SCHEDULE,
        state=SyncRun.State.APPLYING,
        fencing_token=4,
        created_at=timezone.now(),
        pages=3,
    )
    factories.staged_page(run)
    old_worker = Lease(run.pk, 4)

    migration = import_module("directory.migrations.0003_forget_directory_rows")
    migration.forget(apps, None)

    run.refresh_from_db()
    fernhill.refresh_from_db()
    assert not old_worker.write(phase="still here")
    assert not old_worker.hold(now=timezone.now()).rows
    assert (run.state, run.kind, run.pages) == ("QUEUED", "FULL", 0)
    assert not StagedPage.objects.exists()
    assert not fernhill.completely_read, "until it is read again nobody is missing"


@postgresql
def test_object_ids_are_compared_by_code_point(db: None) -> None:
    collations = asked(
        "SELECT collation_name FROM information_schema.columns WHERE table_name ="
        " 'directory_directoryobject' AND column_name = 'object_id'"
    )

    assert collations == ["C"]


@postgresql
def test_what_is_copied_comes_after_what_was_to_be_written_before(
    fernhill: CloudIdentityProvider,
) -> None:
    columns = ("id", "cloud_idp_id", "object_id", "kind")
    row = (7, fernhill.pk, factories.guid("ana"), "U")
    rows.insert_plain(DirectoryObject, columns, [row])

    with transaction.atomic(), gathered():
        rows.delete(DirectoryObject, ("id",), [(7,)])
        # Were the other one still there, this would be a duplicate.
        rows.insert_plain(DirectoryObject, columns, [row])

    assert DirectoryObject.objects.filter(pk=7).exists()


LARGEST = 2**63 - 1


@pytest.mark.parametrize("value", [0, 1, -1, LARGEST, -LARGEST - 1])
def test_a_number_is_inserted_as_it_is(
    fernhill: CloudIdentityProvider, value: int
) -> None:
    columns = ("cloud_idp_id", "number", "value")

    assert rows.insert_plain(ObservedHash, columns, [(fernhill.pk, 7, value)]) == 1

    assert ObservedHash.objects.get().value == value


@pytest.mark.parametrize(
    "text", ["", "null", "7", "[1]", 'a "b" \\ c', "\t\n\r\x01\x1f", "Åström 🦊", "%s"]
)
def test_a_text_is_inserted_as_it_is(
    fernhill: CloudIdentityProvider, text: str
) -> None:
    columns = ("id", "cloud_idp_id", "object_id", "kind")

    rows.insert_plain(DirectoryObject, columns, [(7, fernhill.pk, text, "U")])

    assert DirectoryObject.objects.get().object_id == text


def test_rows_that_are_inserted_at_once_are_counted(
    fernhill: CloudIdentityProvider,
) -> None:
    count = rows.WRITTEN_AT_ONCE + 1
    columns = ("id", "cloud_idp_id", "object_id", "kind")
    given = ((n, fernhill.pk, str(n), "U") for n in range(1, count + 1))

    assert rows.insert_plain(DirectoryObject, columns, given) == count

    assert DirectoryObject.objects.count() == count
    assert DirectoryObject.objects.get(object_id=str(count)).pk == count
