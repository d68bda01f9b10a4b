"""CSV files of people and groups."""

from __future__ import annotations

import csv
import io

import pytest
from django.test import Client

from directory.models import AttributeMappings, CloudIdentityProvider
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User
from jamfidp.history.models import ObjectHistory
from tests import factories


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    idp = factories.cloud_idp()
    AttributeMappings.objects.create(cloud_idp=idp)
    return idp


def rows(client: Client, address: str) -> list[dict[str, str]]:
    answer = client.post(address)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer["Content-Disposition"]
    text = answer.getvalue().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_an_export_holds_every_row_that_the_filters_keep(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    for number in range(120):
        factories.directory_user(f"Person {number:03}", fernhill)
    factories.directory_user("Off", fernhill, account_enabled=False)

    everybody = rows(console, "/users/export/")
    disabled = rows(console, "/users/export/?status=disabled")

    assert len(everybody) == 121
    assert [row["Name"] for row in disabled] == ["Off"]
    assert disabled[0]["Enabled"] == "no"
    assert disabled[0]["Tenant ID"] == factories.TENANT


def test_cells_that_a_spreadsheet_would_execute_are_neutralized(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    factories.directory_user(
        "=HYPERLINK(1)", fernhill, phone="+34 600", position="-1", department="@x"
    )

    (row,) = rows(console, "/users/export/")

    assert row["Name"] == "'=HYPERLINK(1)"
    assert row["Phone"] == "'+34 600"
    assert row["Position"] == "'-1"
    assert row["Department"] == "'@x"


def test_hidden_membership_is_exported_as_hidden(
    console: Client, fernhill: CloudIdentityProvider
) -> None:
    factories.directory_group("Secret", fernhill, hidden_membership=True)

    (row,) = rows(console, "/groups/export/")

    assert row["Members"] == "hidden"


def test_an_export_leaves_a_history_entry_with_its_filters(
    console: Client, administrator: User, fernhill: CloudIdentityProvider
) -> None:
    factories.directory_user("Ana Ruiz", fernhill)

    rows(console, "/users/export/?type=member")

    entry = ObjectHistory.objects.get(action="exported")
    assert entry.actor == administrator
    assert entry.note == "Exported 1 directory users as CSV"
    assert entry.details["Type"] == "Member"


def test_an_export_is_no_mere_link(console: Client, db: None) -> None:
    assert console.get("/users/export/").status_code == 405
    assert not ObjectHistory.objects.filter(action="exported").exists()


@pytest.mark.parametrize("address", ["/users/", "/groups/"])
def test_who_may_look_may_not_take_all_along(
    fernhill: CloudIdentityProvider, address: str
) -> None:
    factories.directory_user("Ana Ruiz", fernhill)
    auditor = User.objects.create(
        username="auditor",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.AUDITOR,
        created_at=fernhill.consented_at,
    )
    client = Client(SERVER_NAME="localhost")
    client.force_login(auditor)

    page = client.get(address)
    refused = client.post(f"{address}export/")

    assert page.status_code == 200
    assert "export/" not in page.content.decode()
    assert refused.status_code == 403
    assert not ObjectHistory.objects.filter(action="exported").exists()
