"""An attribute that is taken out: nothing of it is left in any table."""

from __future__ import annotations

import zlib

import orjson
import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone
from pyroaring import BitMap

from directory import connections
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryUser,
    EarlierValue,
    HeldChange,
    StagedPage,
    State,
    SyncRun,
)
from directory.sync.bitmaps import pack
from directory.sync.holds import stored_hold
from directory.tasks import clear_past
from scoping import matching_rows
from tests import factories
from tests.directory.rounds import guid, number_of, removed, take, user
from tests.directory.test_deletion import searchable
from tests.directory.test_sync_holds import hold_people
from tests.scoping_factories import make_device

ANA, MILO, NOOR = map(guid, ("ana", "milo", "noor"))
# Found in no other text; the second is as people are searched for.
SECRET, FOLDED = "Room Ünïque-4711", "room unique-4711"


def unpacked(stored: bytes) -> bytes:
    """What stands in a compressed column; others are as they are."""
    try:
        return zlib.decompress(stored)
    except zlib.error:
        return stored


def tables_with(*texts: str) -> set[str]:
    """The tables, of all there are, in which one of these texts stands anywhere."""
    found = set()
    for model in apps.get_models():
        for row in model._default_manager.values_list():
            for value in row:
                if isinstance(value, bytes | memoryview):
                    value = unpacked(bytes(value)).decode("utf-8", "replace")
                elif not isinstance(value, str):
                    value = orjson.dumps(value, default=str).decode()
                if any(text in value for text in texts):
                    found.add(model.__name__)
    return found


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Ana, Milo and Noor, with the text in every place that keeps attributes."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp, real_name="city", building="city")
    take(idp, full=True, users=[user(who, city=SECRET) for who in (ANA, MILO, NOOR)])
    # A device of Ana that follows what Entra says of her.
    make_device(
        username=f"{ANA[:8]}@fernhill.example",
        sources={"real_name": {"source": "DIRECTORY", "at": "2026-11-03T12:00:00Z"}},
    )
    matching_rows.rematch(now=timezone.now())
    # An earlier value of Ana, a held one of Milo, and Noor's row is of the deleted.
    take(idp, users=[user(ANA, city="Lisbon"), removed(NOOR, "changed")])
    take(idp, users=[user(ANA, city=SECRET)])
    take(
        idp,
        users=[user(MILO, city=SECRET, jobTitle="Held")],
        decide=hold_people,
    )
    stopped = SyncRun.objects.create(
        cloud_idp=idp,
        kind=SyncRun.Kind.FULL,
        trigger=SyncRun.Trigger.PERSON,
        state=SyncRun.State.FAILED,
        created_at=timezone.now(),
    )
    StagedPage.objects.create(
        run=stopped,
        resource=StagedPage.Resource.USERS,
        number=1,
        seen=pack(BitMap([number_of(idp, ANA)])),
        objects_changed=orjson.dumps([[1, 2, [SECRET], ANA]]),
        members=b"",
        staged_at=timezone.now(),
    )
    return idp


def save(idp: CloudIdentityProvider, **mapped: str) -> None:
    mappings = AttributeMappings.objects.get(cloud_idp=idp)
    for name, graph_property in mapped.items():
        setattr(mappings, name, graph_property)
    connections.save_mappings(mappings, actor=None, now=timezone.now())


def test_an_attribute_taken_out_is_erased_from_every_table(
    fernhill: CloudIdentityProvider,
) -> None:
    """All but the history, which says what happened to a device."""
    places = {
        "DirectoryUser",
        "EarlierValue",
        "HeldChange",
        "StagedPage",
        "PlanPart",
        "PlanConsequence",
        "Device",
        "ObjectHistory",
    }
    assert tables_with(SECRET, FOLDED) == places

    save(fernhill, real_name="", building="")

    assert tables_with(SECRET, FOLDED) == {"ObjectHistory"}


def test_what_another_property_fills_keeps_its_value_until_the_read(
    fernhill: CloudIdentityProvider,
) -> None:
    """Without a user name nobody would match until everything was read again."""
    save(fernhill, building="officeLocation")

    people = DirectoryUser.objects.filter(cloud_idp=fernhill)
    assert {p.building for p in people.filter(state=State.PRESENT)} == {SECRET}
    # Nobody reads them again.
    assert {p.building for p in people.exclude(state=State.PRESENT)} == {""}
    assert not EarlierValue.objects.filter(attribute="building").exists()

    SyncRun.objects.active().delete()
    take(
        fernhill,
        full=True,
        users=[user(who, city=SECRET, officeLocation="Hall") for who in (ANA, MILO)],
    )
    assert {p.building for p in people.filter(state=State.PRESENT)} == {"Hall"}


def test_what_is_held_stays_held_and_a_decision_about_it_is_void(
    fernhill: CloudIdentityProvider,
) -> None:
    (before,) = HeldChange.objects.all()

    save(fernhill, real_name="", building="")

    (after,) = HeldChange.objects.all()
    assert after.closed_at is None
    assert after.payload_hash != before.payload_hash
    assert after.payload_hash == stored_hold(after).payload_hash
    assert after.observed is not None
    assert after.observed["position"] == "Held"


def test_pages_of_a_read_at_work_are_left_to_it(
    fernhill: CloudIdentityProvider,
) -> None:
    SyncRun.objects.filter(state=SyncRun.State.FAILED).update(
        state=SyncRun.State.READING
    )

    save(fernhill, building="")

    assert StagedPage.objects.exists()


def test_only_what_changed_is_erased(fernhill: CloudIdentityProvider) -> None:
    other = factories.cloud_idp("Quarrel", tenant_id=factories.OTHER_TENANT)
    elsewhere = factories.directory_user("Ana", other, building=SECRET)

    save(fernhill, building="")

    elsewhere.refresh_from_db()
    assert elsewhere.building == SECRET
    ana = DirectoryUser.objects.get(cloud_idp=fernhill, object_id=ANA)
    assert (ana.real_name, ana.building) == (SECRET, "")
    assert FOLDED in ana.search


def test_a_name_taken_out_leaves_the_index_for_searching_within_the_hour(
    db: None,
) -> None:
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp, real_name="city")
    take(idp, full=True, users=[user(ANA, city="Qzxjv")])
    known = any("qzx" in block for block in searchable())

    save(idp, real_name="")
    clear_past()

    assert known == (connection.vendor == "sqlite")
    assert not any("qzx" in block for block in searchable())
