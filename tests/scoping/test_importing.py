"""CSV files of devices: what is read, refused, promised and done."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from scoping import importing, organization
from scoping.importing import FileRefused, State
from scoping.models import Device, DeviceKind, InventoryImport, InventoryUser
from tests.factories import OTHER_TENANT, cloud_idp, directory_user
from tests.scoping_factories import (
    make_building,
    make_department,
    make_device,
    make_mobile_device,
    make_site,
)

pytestmark = pytest.mark.django_db
COMPUTER = DeviceKind.COMPUTER
NOW = datetime(2026, 11, 3, 14, 2, tzinfo=UTC)
ANA = "ana.ruiz@fernhill.example"


def upload(
    text: str | bytes, actor: User, *, look_up: bool = False, **values: Any
) -> InventoryImport:
    return importing.upload(
        **{
            "content": text.encode() if isinstance(text, str) else text,
            "file_name": "fleet.csv",
            "kind": COMPUTER,
            "site": None,
            "look_up": look_up,
            "actor": actor,
            "now": NOW,
        }
        | values
    )


def states(row: InventoryImport) -> list[str]:
    return [each["state"] for each in row.rows]


def reasons(row: InventoryImport) -> str:
    return " ".join(reason for each in row.rows for reason in each["reasons"])


def apply(row: InventoryImport, actor: User) -> importing.Outcome:
    return importing.apply(row=row, actor=actor, now=NOW)


FULL = (
    "Serial Number,Computer Name,Model,Operating System Version,Managed,Site,"
    "Last Reported IP Address,Last Inventory Update,Username,Full Name,Email Address,"
    "Phone Number,Position,Department,Building,Room\n"
    "C02A,MBP-ANA,MacBook Pro,15.5,Managed,Studio,10.20.0.7,2026-11-03T14:02Z,"
    f"{ANA},Ana Ruiz,{ANA},+44 1,Designer,Design,Mill House,4 East\n"
)


def test_every_column_reaches_the_device(administrator: User) -> None:
    site, building = make_site(), make_building()
    department = make_department()

    outcome = apply(upload(FULL, administrator), administrator)

    device = Device.objects.get()
    assert outcome.new == 1
    assert (device.kind, device.name) == (COMPUTER, "MBP-ANA")
    assert (device.model, device.os_version) == ("MacBook Pro", "15.5")
    assert device.managed
    assert device.site == site
    assert (device.department, device.building) == (department, building)
    assert device.last_reported_ip == "10.20.0.7"
    assert device.last_inventory_at == NOW
    assert device.assigned_user is not None
    assert device.assigned_user.username == ANA
    assert (device.real_name, device.email) == ("Ana Ruiz", ANA)
    assert (device.phone, device.position) == ("+44 1", "Designer")
    assert device.room == "4 East"
    assert device.sources["room"]["source"] == Device.Source.IMPORT
    assert "ana ruiz" in device.search


def test_the_same_file_again_changes_nothing(administrator: User) -> None:
    make_site(), make_building(), make_department()
    apply(upload(FULL, administrator), administrator)
    before = Device.objects.values().get()
    history = ObjectHistory.objects.filter(object_label="scoping.device").count()

    again = upload(FULL, administrator)
    outcome = apply(again, administrator)

    assert states(again) == [State.UNCHANGED]
    assert (outcome.new, outcome.changed, outcome.unchanged) == (0, 0, 1)
    assert Device.objects.values().get() == before
    after = ObjectHistory.objects.filter(object_label="scoping.device").count()
    assert after == history


def test_a_preview_shows_before_and_after_and_changes_nothing(
    administrator: User,
) -> None:
    device = make_device("MBP-OLD", serial_number="C02A", model="Old")

    row = upload(
        "serial number;computer name;model\nc02a;MBP-NEW;\nC02B;MBP-B;M\n",
        administrator,
    )

    assert states(row) == [State.CHANGED, State.NEW]
    assert row.rows[0]["changes"] == [["Name", "MBP-OLD", "MBP-NEW"]]
    assert row.reading["delimiter"] == "semicolons"
    device.refresh_from_db()
    assert device.name == "MBP-OLD"
    assert Device.objects.count() == 1
    assert not ObjectHistory.objects.exists()


def test_an_empty_cell_keeps_and_the_word_clears(administrator: User) -> None:
    device = make_device(serial_number="C02A", model="Old", room="4", phone="1")

    apply(
        upload("Serial Number,Model,Room\nC02A,,CLEAR!\n", administrator),
        administrator,
    )

    device.refresh_from_db()
    assert (device.model, device.room, device.phone) == ("Old", "", "1")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(",MBP", "no serial number", id="no serial"),
        pytest.param("C02A,", "is new and its row has no Computer Name", id="no name"),
        pytest.param("C02A,N,,Nowhere", "no site named 'Nowhere'", id="site"),
        pytest.param("C02A,N,,,Nowhere", "no building named", id="building"),
        pytest.param("C02A,N,,,,Nowhere", "no department named", id="department"),
        pytest.param("C02A,N,,,,,10.0.0", "'10.0.0' is not an IP address", id="ip"),
        pytest.param("C02A,N,,,,,,3 Nov", "is not a date and time", id="date"),
        pytest.param("C02A,N,,,,,,2026-13-40", "is not a date", id="no such day"),
        pytest.param("C02A,N,perhaps", "use Managed or Unmanaged", id="boolean"),
        pytest.param("C02A,N,,,,,,,x,y", "has 10 cells", id="too many cells"),
        pytest.param(f"{'C' * 70},N", "is not a serial number", id="long serial"),
        pytest.param(f"C02A,{'N' * 300}", "up to 255 fit", id="long name"),
        pytest.param("IPAD,N", "is a mobile device", id="other kind"),
        pytest.param("C02Z,CLEAR!", "cannot be cleared", id="name cleared"),
    ],
)
def test_a_row_that_cannot_be_used_says_why_and_where(
    administrator: User, line: str, says: str
) -> None:
    make_mobile_device(serial_number="IPAD")
    make_device("KEPT", serial_number="C02Z")
    head = (
        "Serial Number,Computer Name,Managed,Site,Building,Department,IP Address,"
        "Last Inventory Update,Model"
    )

    row = upload(f"{head}\nC02GOOD,GOOD\n\n{line}\n", administrator)

    assert states(row) == [State.NEW, State.REFUSED]
    assert says in reasons(row)
    assert row.rows[1]["line"] == 4
    outcome = apply(row, administrator)
    assert (outcome.new, outcome.refused) == (1, 1)
    assert Device.objects.count() == 3


def test_the_second_row_of_a_serial_number_names_the_first(administrator: User) -> None:
    row = upload("Serial Number,Computer Name\nC02A,One\nc02a,Two\n", administrator)

    assert states(row) == [State.NEW, State.REFUSED]
    assert "Line 2 has the same serial number" in reasons(row)


def test_lines_are_counted_as_an_editor_counts_them(administrator: User) -> None:
    row = upload(
        'Serial Number,Computer Name\n\nC02A,"Two\nlines"\n,No serial\n', administrator
    )

    assert [each["line"] for each in row.rows] == [3, 5]


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a mark"),
        ("utf-16", "UTF-16"),
        ("latin-1", "Latin-1"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_files_of_the_usual_programs_are_read(
    administrator: User, encoding: str, says: str, delimiter: str
) -> None:
    text = f"Serial Number{delimiter}Computer Name\r\nC02A{delimiter}Élodie's Mac\r\n"

    row = upload(text.encode(encoding), administrator)

    assert row.reading["encoding"] == says
    assert row.rows[0]["name"] == "Élodie's Mac"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\x00\x01\x02", "not a text file"),
        (b"\xff\xfea", "UTF-16"),
        (b"Name,Model\nA,B\n", "No column is named Serial Number"),
        (b"Serial Number\n", "no rows"),
        (b"Serial Number,Name,Computer Name\nA,B,C\n", "say the same"),
        (b'Serial Number,Computer Name\nC02A,"open\n', "not CSV"),
        (b"x" * (importing.MAX_BYTES + 1), "up to 5 MB"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, says: str) -> None:
    with pytest.raises(FileRefused, match=says):
        importing.read(content, kind=COMPUTER)


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_ROWS", 2)

    with pytest.raises(FileRefused, match="more than 2 rows"):
        importing.read(b"Serial Number\nA\nB\nC\n", kind=COMPUTER)


def test_unknown_columns_are_named(administrator: User) -> None:
    row = upload(
        "Serial Number,Computer Name,Favourite Colour\nA,B,red\n", administrator
    )

    assert row.reading["unknown_columns"] == ["Favourite Colour"]


def test_assigned_users_are_counted_by_match(administrator: User) -> None:
    idp = cloud_idp()
    directory_user("Ana Ruiz", idp)
    directory_user("Tom Ellery", idp)
    second = cloud_idp("Quarrel & Sons", tenant_id=OTHER_TENANT)
    directory_user("Tom Ellery", second)
    lines = [ANA, ANA.upper(), "tom.ellery@fernhill.example", "x", ""]

    row = upload(
        "Serial Number,Computer Name,Username\n"
        + "".join(f"C{n},N,{name}\n" for n, name in enumerate(lines)),
        administrator,
    )

    users = row.reading["users"]
    assert (users["matched"], users["ambiguous"], users["unmatched"]) == (1, 1, 1)
    assert not InventoryUser.objects.exists()


def test_new_names_are_matched_when_the_file_is_applied(administrator: User) -> None:
    directory_user("Ana Ruiz", cloud_idp())

    apply(
        upload(f"Serial Number,Name,Username\nC02A,N,{ANA}\n", administrator),
        administrator,
    )

    assert InventoryUser.objects.get().match == InventoryUser.Match.MATCHED


def test_a_look_up_fills_what_the_file_leaves_empty_as_promised(
    administrator: User,
) -> None:
    directory_user("Ana Ruiz", cloud_idp(), room="4 East", position="Designer")

    row = upload(
        f"Serial Number,Name,Username,Position\nC02A,N,{ANA},Typed\n",
        administrator,
        look_up=True,
    )
    promised = row.rows[0]["changes"]
    apply(row, administrator)

    device = Device.objects.get()
    assert ["Room", "", "4 East"] in promised
    assert (device.room, device.position) == ("4 East", "Typed")
    assert device.sources["room"]["source"] == Device.Source.DIRECTORY
    again = upload(
        f"Serial Number,Name,Username,Position\nC02A,N,{ANA},Typed\n",
        administrator,
        look_up=True,
    )
    assert states(again) == [State.UNCHANGED]


def test_an_applied_file_does_not_hold_on_to_its_site(administrator: User) -> None:
    site = make_site()
    row = upload("Serial Number,Name\nC02A,N\n", administrator, site=site)
    apply(row, administrator)
    Device.objects.get().delete()

    organization.delete(part=site, actor=administrator, now=NOW)

    row.refresh_from_db()
    assert row.reading["site"] == "Studio"


def test_an_import_is_applied_once(administrator: User) -> None:
    row = upload("Serial Number,Name\nC02A,N\n", administrator)
    apply(row, administrator)

    with pytest.raises(importing.AlreadyApplied):
        apply(row, administrator)

    assert Device.objects.count() == 1


def test_an_inventory_that_changed_since_is_shown_again_first(
    administrator: User,
) -> None:
    device = make_device("MBP-OLD", serial_number="C02A")
    row = upload("Serial Number,Name\nC02A,MBP-NEW\nC02B,B\n", administrator)
    Device.objects.filter(pk=device.pk).update(name="MBP-MEANWHILE")

    with pytest.raises(importing.PreviewOutdated, match="1 row would"):
        apply(row, administrator)

    assert Device.objects.get().name == "MBP-MEANWHILE"
    row.refresh_from_db()
    assert row.rows[0]["changes"] == [["Name", "MBP-MEANWHILE", "MBP-NEW"]]
    outcome = apply(row, administrator)
    assert (outcome.changed, outcome.new) == (1, 1)


def test_old_uploads_that_nobody_confirmed_are_forgotten(administrator: User) -> None:
    old = upload("Serial Number,Name\nA,N\n", administrator)
    InventoryImport.objects.update(uploaded_at=NOW - timedelta(days=2))

    upload("Serial Number,Name\nA,N\n", administrator)

    assert not InventoryImport.objects.filter(pk=old.pk).exists()


def test_five_thousand_rows_take_few_queries(
    administrator: User, django_assert_max_num_queries: Any
) -> None:
    cloud_idp()
    text = "Serial Number,Computer Name,Username,Room\n" + "".join(
        f"C{n:05},MBP-{n:05},user{n}@fernhill.example,{n % 40}\n" for n in range(5000)
    )

    with django_assert_max_num_queries(60):
        row = upload(text, administrator)
    # SQLite takes 999 values a statement, hence batches of about 30 rows.
    with django_assert_max_num_queries(400):
        outcome = apply(row, administrator)

    assert outcome.new == 5000


@pytest.fixture
def site_administrator(db: None) -> tuple[Client, Any, User]:
    site = make_site("Studio")
    user = User(
        username="studio-admin",
        access_level=AccessLevel.SITE,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        site=site,
        created_at=timezone.now(),
    )
    user.set_unusable_password()
    user.save()
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client, site, user


def test_a_site_administrator_imports_into_their_site_alone(
    site_administrator: tuple[Client, Any, User],
) -> None:
    _, site, actor = site_administrator
    make_device("SECRET", serial_number="C02F", site=make_site("Elsewhere"))
    make_device("OWN", serial_number="C02O", site=site)

    row = upload(
        "Serial Number,Name,Site\n"
        "C02F,Stolen,\nC02O,Renamed,\nC02N,New,\nC02M,Away,Elsewhere\nC02O2,Out,CLEAR!\n",
        actor,
        site=site,
    )

    assert states(row) == [
        State.REFUSED,
        State.CHANGED,
        State.NEW,
        State.REFUSED,
        State.REFUSED,
    ]
    assert "SECRET" not in str(row.rows)
    assert "You may not change the device" in row.rows[0]["reasons"][0]
    apply(row, actor)
    assert set(Device.objects.filter(site=site).values_list("name", flat=True)) == {
        "Renamed",
        "New",
    }


def file(text: str, name: str = "fleet.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode(), content_type="text/csv")


@pytest.mark.parametrize("route", ["computer", "mobiledevice"])
def test_upload_look_confirm_in_the_browser(console: Client, route: str) -> None:
    uploaded = console.post(
        reverse(f"scoping:{route}-import"),
        {"file": file("Serial Number,Name\nC02A,First\n,Nameless\n")},
    )
    row = InventoryImport.objects.get()
    preview = reverse(f"scoping:{route}-import-preview", args=[row.pk])
    assert uploaded.headers["Location"] == preview

    refused = console.get(preview).content.decode()
    new = console.get(f"{preview}?rows=new").content.decode()
    listed = console.get(reverse(f"scoping:{route}-import-refused", args=[row.pk]))
    applied = console.post(reverse(f"scoping:{route}-import-apply", args=[row.pk]))
    twice = console.post(reverse(f"scoping:{route}-import-apply", args=[row.pk]))

    assert "The row has no serial number" in refused
    assert "First" in new
    assert "no serial number" in listed.content.decode("utf-8-sig")
    assert applied.status_code == 302
    assert twice.status_code == 422
    assert "was imported already" in twice.content.decode()
    assert "First" in console.get(reverse(f"scoping:{route}-list")).content.decode()


def test_a_dropped_file_leaves_the_inventory_alone(console: Client) -> None:
    console.post(
        reverse("scoping:computer-import"), {"file": file("Serial Number,Name\nA,N\n")}
    )
    row = InventoryImport.objects.get()

    console.post(reverse("scoping:computer-import-drop", args=[row.pk]))

    assert not InventoryImport.objects.exists()
    assert not Device.objects.exists()


def test_a_preview_that_grew_old_is_said_on_the_page(console: Client) -> None:
    console.post(
        reverse("scoping:computer-import"), {"file": file("Serial Number,Name\nA,N\n")}
    )
    row = InventoryImport.objects.get()
    make_device("OTHER", serial_number="A")

    answer = console.post(reverse("scoping:computer-import-apply", args=[row.pk]))

    assert answer.status_code == 422
    assert "changed since the preview" in answer.content.decode()
    assert Device.objects.get().name == "OTHER"


@pytest.mark.parametrize(
    ("content", "says"),
    [("Name\nA\n", "No column is named Serial Number"), ("", "empty")],
)
def test_a_refused_file_is_said_next_to_the_field(
    console: Client, content: str, says: str
) -> None:
    answer = console.post(reverse("scoping:computer-import"), {"file": file(content)})

    assert answer.status_code == 422
    assert says in str(answer.context["form"].errors["file"])
    assert says in answer.content.decode()


def test_the_preview_of_somebody_else_is_not_found(
    console: Client, site_administrator: tuple[Client, Any, User]
) -> None:
    console.post(
        reverse("scoping:computer-import"), {"file": file("Serial Number,Name\nA,N\n")}
    )
    row = InventoryImport.objects.get()
    client = site_administrator[0]

    for view in ("preview", "refused"):
        address = reverse(f"scoping:computer-import-{view}", args=[row.pk])
        assert client.get(address).status_code == 404
    for view in ("apply", "drop"):
        address = reverse(f"scoping:computer-import-{view}", args=[row.pk])
        assert client.post(address).status_code == 404
    assert InventoryImport.objects.exists()


def test_the_template_and_the_export_can_be_imported(
    console: Client, administrator: User
) -> None:
    device = make_device("=cmd", serial_number="C02A", phone="+44 1", username=ANA)
    template = console.get(reverse("scoping:computer-import-template"))
    headings = next(csv.reader(io.StringIO(template.content.decode("utf-8-sig"))))
    exported = console.get(reverse("scoping:computer-export"))

    row = upload(b"".join(exported.streaming_content), administrator)  # type: ignore[attr-defined]

    assert headings == [column.name for column in importing.columns_for(COMPUTER)]
    assert row.reading["unknown_columns"] == ["Directory Match"]
    assert states(row) == [State.UNCHANGED], row.rows
    assert device.name == "=cmd"
