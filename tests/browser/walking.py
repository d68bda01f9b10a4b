"""Ways through the console that several browser tests walk, and its list of pages."""

from __future__ import annotations

import csv
import io
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse
from playwright.sync_api import Page, expect

from jamfidp.demo import check, story
from jamfidp.demo.processes import Installation
from tests import cast

# Routes that show no page to somebody who opens them, and what they are instead.
# A test holds them to it.
NO_PAGE = {
    "health": "data for load balancers",
    "accounts:entra-start": "leads to Microsoft",
    "accounts:entra-choose": "form",
    "accounts:entra-sign-out": "leads to Microsoft",
    "accounts:entra-callback": "takes Microsoft's answer",
    "directory:consent-callback": "takes the connector's answer",
    "connector:start": "leads to Microsoft",
    "connector:consent": "takes Microsoft's answer",
    "connector:code": "takes Microsoft's answer",
    # Between password and session; a walk of their own sees them.
    "accounts:second-factor": "after the password",
    "accounts:second-factor-questions": "data for passkeys",
    "accounts:second-factor-passkey": "form",
    "accounts:enrolled": "form",
    "accounts:enroll-app-begin": "form",
    "accounts:enroll-app": "after it was begun",
    "accounts:enroll-passkey-questions": "data for passkeys",
    "accounts:recovery-codes-new": "form",
    "accounts:app-remove": "form",
    "accounts:passkey-remove": "form",
    "accounts:my-sessions-end": "form",
    "accounts:session-keep": "form",
    "accounts:user-sessions-end": "form",
    "notices:all-read": "form",
    "notices:read": "form",
    "notices:settings-save": "form",
    "notices:test-mail": "form",
    # Pages of one consent, gone when it is over; a walk of their own sees them.
    "connector:continue": "consent",
    "directory:consent-attempt": "consent",
    "directory:consent-end": "consent",
    "directory:cloud-idp-consent": "form",
    "directory:cloud-idp-erase": "form",
    "directory:cloud-idp-schedule": "form",
    "accounts:logout": "form",
    "accounts:choose-site": "form",
    # Leads to the sign-in unless it is its moment.
    "accounts:setup": "before the first account",
    "accounts:entra-refused": "after a refusal",
    # The demo holds nothing; tests of their own open them.
    "directory:heldchange-detail": "while something is held",
    "directory:hold-everything-release": "form",
    "connector:signed-out": "takes Microsoft's answer",
    # Parts that other pages fetch.
    "accounts:directory-user": "fragment",
    "accounts:directory-group": "fragment",
    "directory:pick-groups": "fragment",
    "directory:pick-users": "fragment",
    "scoping:match-counts-fragment": "fragment",
    "scoping:directoryuser-devices-fragment": "fragment",
    "scoping:directoryuser-objects-fragment": "fragment",
    "scoping:device-scopes-fragment": "fragment",
}
# How the names of routes end that answer forms or send files.
NO_PAGE_ENDINGS = {
    "-export": "file",
    "-template": "file",
    "-refused": "file",
    "-download": "file",
    "-apply": "form",
    "-drop": "form",
    "-save": "form",
    "-again": "form",
    "-create": "form",
    "-take": "form",
    "-start": "form",
    "-verify": "form",
    "-check": "form",
    "-cancel": "form",
    "-request": "form",
    "-confirm": "form",
    "-client": "form",
    "-use": "form",
    "-prove": "form",
    "-revoke": "form",
    "-mail": "form",
    "-scope-picker": "fragment",
    "connector:go": "form",
    "connector:end": "form",
}
# Their names end like the ones above, and they are pages.
PAGES = {
    "directory:consent-refused",
    "connector:refused",
    "directory:cloud-idp-request",
}

# One object for each kind of page: what the routes of these names are about.
SAMPLES = {
    "accounts:user": "SELECT id AS pk FROM accounts_user",
    "accounts:accountgroup": (
        "SELECT id AS pk FROM accounts_accountgroup WHERE display_name = 'Mac Admins'"
    ),
    "accounts:binding": (
        "SELECT account_group_id AS pk, id AS binding_pk FROM accounts_directorybinding"
    ),
    "directory:application-registration": (
        "SELECT cloud AS cloud_key FROM directory_applicationregistration"
    ),
    "directory:own-registration": (
        "SELECT id AS pk FROM directory_applicationregistration"
        " WHERE for_one_connection"
    ),
    "directory:credential": (
        "SELECT id AS pk FROM directory_applicationcredential WHERE kind = 'SECRET'"
    ),
    "directory:credential-add": (
        "SELECT id AS pk, 'certificate' AS way FROM directory_applicationregistration"
    ),
    "directory:sent-request": "SELECT id AS pk FROM directory_sentrequest",
    "directory:consent": "SELECT id AS pk FROM directory_consentrequest",
    "directory:consent-refused": "SELECT 'expired' AS reason",
    "connector:refused": "SELECT 'unreadable' AS reason",
    "connector:continue": "SELECT 'gone' AS flow_id",
    "connector:go": "SELECT 'gone' AS flow_id",
    "directory:cloud-idp": "SELECT id AS pk FROM directory_cloudidentityprovider",
    "directory:heldchange-review": (
        "SELECT id AS pk FROM directory_cloudidentityprovider"
    ),
    "directory:heldchange-detail": "SELECT 0 AS pk",
    "directory:hold-everything-release": "SELECT 0 AS pk",
    "directory:mapping-effect": "SELECT id AS pk FROM directory_cloudidentityprovider",
    "directory:user": (
        "SELECT id AS pk FROM directory_directoryuser WHERE display_name = 'Ana Ruiz'"
        " ORDER BY user_principal_name"
    ),
    **{
        f"accounts:directory-{kind}": (
            "SELECT tenant_id, object_id"  # noqa: S608
            f" FROM directory_directory{kind} o, directory_cloudidentityprovider c"
            " WHERE c.id = o.cloud_idp_id"
        )
        for kind in ("user", "group")
    },
    "accounts:passkey-remove": "SELECT 1 AS pk",
    "accounts:person-block": (
        "SELECT tenant_id, object_id FROM directory_directoryuser o,"
        " directory_cloudidentityprovider c WHERE c.id = o.cloud_idp_id"
    ),
    "accounts:block-lift": "SELECT id AS pk FROM accounts_block",
    "accounts:entra-stop": "SELECT 'all' AS which",
    "accounts:entra-allow": "SELECT 'all' AS which",
    "notices:read": "SELECT 1 AS pk",
    "directory:group": (
        "SELECT id AS pk FROM directory_directorygroup"
        " WHERE display_name = 'Engineering'"
    ),
    "directory:syncrun": "SELECT id AS pk FROM directory_syncrun",
    "directory:syncrun-plan": (
        "SELECT p.run_id AS pk, 'people' AS section, p.first AS number, c.position"
        " FROM directory_planpart p JOIN directory_planconsequence c"
        " ON c.run_id = p.run_id AND p.section = 'PEOPLE'"
    ),
    "scoping:computer": "SELECT id AS pk FROM scoping_device WHERE kind = 'COMPUTER'",
    "scoping:mobiledevice": "SELECT id AS pk FROM scoping_device WHERE kind = 'MOBILE'",
    "scoping:computer-import": (
        "SELECT id AS pk FROM scoping_inventoryimport WHERE kind = 'COMPUTER'"
    ),
    "scoping:mobiledevice-import": (
        "SELECT id AS pk FROM scoping_inventoryimport WHERE kind = 'MOBILE'"
    ),
    "scoping:device": "SELECT id AS pk FROM scoping_device",
    "scoping:inventoryuser": "SELECT id AS pk FROM scoping_inventoryuser",
    "scoping:site": "SELECT id AS pk FROM scoping_site",
    "scoping:building": "SELECT id AS pk FROM scoping_building",
    "scoping:department": "SELECT id AS pk FROM scoping_department",
    "scoping:networksegment": "SELECT id AS pk FROM scoping_networksegment",
    "scoping:policy": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_policy o"
        " JOIN scoping_device d ON o.name = 'VPN client' AND d.kind = 'COMPUTER'"
    ),
    "scoping:macosconfigurationprofile": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_configurationprofile o"
        " JOIN scoping_device d ON o.kind = d.kind AND d.kind = 'COMPUTER'"
    ),
    "scoping:iosconfigurationprofile": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_configurationprofile o"
        " JOIN scoping_device d ON o.kind = d.kind AND d.kind = 'MOBILE'"
    ),
    "scoping:smartcomputergroup": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_smartgroup o"
        " JOIN scoping_device d ON o.kind = d.kind AND d.kind = 'COMPUTER'"
    ),
    "scoping:smartmobiledevicegroup": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_smartgroup o"
        " JOIN scoping_device d ON o.kind = d.kind AND d.kind = 'MOBILE'"
    ),
    "scoping:staticcomputergroup": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_staticgroup o"
        " JOIN scoping_device d ON o.kind = d.kind AND d.kind = 'COMPUTER'"
    ),
    "scoping:staticmobiledevicegroup": (
        "SELECT o.id AS pk, d.id AS device_pk FROM scoping_staticgroup o"
        " JOIN scoping_device d ON o.kind = d.kind AND d.kind = 'MOBILE'"
    ),
}


def routes(
    patterns: list[Any] | None = None, namespace: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    """Every route of the console by its full name."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else namespace
            yield from routes(pattern.url_patterns, inner)
        else:
            yield f"{namespace}{pattern.name}", pattern


def is_page(name: str) -> bool:
    return name in PAGES or not (
        name in NO_PAGE or name.endswith(tuple(NO_PAGE_ENDINGS))
    )


def sample(installation: Installation, name: str) -> Mapping[str, Any]:
    """The arguments of a route with an object in it, from the longest fitting name."""
    fitting = [key for key in SAMPLES if name == key or name.startswith(f"{key}-")]
    assert fitting, f"Name an object for {name} in SAMPLES, or call it no page."
    with sqlite3.connect(installation.folder / "console.sqlite3") as database:
        database.row_factory = sqlite3.Row
        row = database.execute(SAMPLES[max(fitting, key=len)]).fetchone()
    assert row, f"There is no object for {name}."
    return dict(row)


def address(installation: Installation, name: str, pattern: URLPattern) -> str:
    """The address of a route, about one object where it needs one."""
    wanted = pattern.pattern.converters
    known = sample(installation, name) if wanted else {}
    arguments = {key: known[key] for key in wanted}
    return installation.console_url + reverse(name, kwargs=arguments)


def everything_at_once(installation: Installation) -> check.Job:
    """Do over HTTP what every page needs to have something to show."""
    job = check.Job(installation)
    check.sign_in_locally(job)
    check.consent_at_microsoft(job)
    check.verify_and_save(job)
    check.read_everything(job)
    check.scope_a_policy(job)
    check.give_privileges_to_a_directory_group(job)
    person = f"{cast.FERNHILL.tenant_id}/{cast.TOMAS.object_id}"
    job.admin.open(job.at(f"/settings/accounts/of-person/{person}/block/"))
    job.admin.submit("reason", {"reason": "Has left the company."})
    job.admin.open(job.at("/settings/entra-application/own/new/"))
    job.admin.submit("client_id", {"client_id": str(uuid.uuid4())}, button="Next")
    job.admin.follow("Generate a certificate")
    job.admin.submit("Generate")
    job.admin.open(job.at("/settings/cloud-idps/requests/new/"))
    job.admin.submit("Make the link")
    job.admin.open(job.at("/devices/smart-groups/new/"))
    job.admin.submit("new_criterion", {"name": "Phones"}, button="Save")
    for section, serial in (("computers", "C02FHNEW"), ("devices", "F02FHNEW")):
        page = job.admin.open(job.at(f"/{section}/import/template.csv"))
        columns = next(csv.reader(io.StringIO(page.source.lstrip("\ufeff"))))
        rows = [
            {columns[0]: serial, columns[1]: "New one"},
            {columns[0]: "", columns[1]: "Without a serial number"},
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        job.admin.open(job.at(f"/{section}/import/"))
        job.admin.upload("file", "file", "new.csv", text.getvalue().encode())
    return job


def sign_in_locally(page: Page, installation: Installation) -> None:
    page.goto(f"{installation.console_url}/login/")
    page.get_by_label("User name").fill(story.ADMINISTRATOR)
    page.get_by_label("Password").fill(installation.administrator_password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("button", name="Navigation")).to_be_visible()


def sign_in_at_the_sandbox(page: Page, upn: str) -> None:
    page.get_by_label("Email or user name").fill(upn)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
