"""Every route of the console against what a browser can be made to do to it.

One of each object is there, and every text that a stranger can choose is hostile.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction
from django.test import Client
from django.utils import timezone
from lxml import html
from pyroaring import BitMap

from directory import connect, credentials, registrations, sent_requests
from directory.models import (
    AttributeMappings,
    DirectoryUser,
    PlanConsequence,
    PlanPart,
    SyncRun,
)
from jamfidp.accounts.models import AccountSession, FailedSignIn, SignInRequest, User
from jamfidp.history.models import ObjectHistory
from scoping.models import DeviceKind
from tests import factories, scoping_factories
from tests.test_architecture import OF_A_SITE, ROUTES, Route, entry_of

pytestmark = [pytest.mark.django_db, pytest.mark.broad]

OVERRIDE = "\u202e"
HOSTILE = f"<script>alert(1)</script>{{{{ 31337|add:1 }}}}\"'><b onx=1>{OVERRIDE}gpj"
# What opening an address may leave behind: the secrets of a sign-in that begins, and
# entries that somebody was refused or took a list away.
MAY_WRITE: dict[str, tuple[type[Any], ...]] = {
    "accounts:entra-start": (SignInRequest,),
    "accounts:entra-callback": (ObjectHistory, FailedSignIn),
    "directory:consent-callback": (ObjectHistory,),
} | {
    one.name: (ObjectHistory,)
    for one in ROUTES
    if one.name.startswith("scoping:") and one.name.endswith("-export")
}
JUNK = [
    {"q": "\x00", "after": "\x00", "page": "\x00"},
    {"q": "%" * 50, "after": "eyJ", "before": "!", "page": "-1", "sort": "password"},
    {
        "q": "' OR 1=1 --",
        "after": "9" * 40,
        "page": "9" * 40,
        "connection": "9" * 40,
        "directory_group": "9" * 40,
        "site": "x",
        "sort": "-site__user__password",
        "cloud": "../..",
        "next": "//evil.example",
        "kind": "9" * 30,
        "role": "x",
        "rows": "x",
        "verdict": "x",
        "tab": "x",
        "tenant_id": "x" * 500,
        "object_id": "x" * 500,
        "from": "x",
        "state": "x" * 3000,
        "request": "e30.e30.e30",
        "answer": "a.b.c",
    },
]

Given = dict[str, dict[str, Any]]


@pytest.fixture
def admin() -> User:
    return factories.administrator("admin", full_name=HOSTILE)


@pytest.fixture
def browser(admin: User) -> Client:
    client = Client(SERVER_NAME="localhost")
    client.force_login(admin)
    session = client.session
    session["consent_browser"] = "browser"
    session.save()
    return client


@pytest.fixture
def world(admin: User, settings: Any) -> Given:
    """One of each object; the arguments of routes by the beginning of their names."""
    settings.ENTRA_SANDBOX_URL = "https://127.0.0.1:9"
    settings.ENTRA_SANDBOX_CA_FILE = "/nowhere/ca.pem"
    now = timezone.now()
    registration = registrations.save_client_id(
        cloud_key="SANDBOX",
        client_id=factories.guid("application"),
        connections_confirmed=False,
        actor=admin,
        now=now,
    )
    credential = credentials.add_secret(
        registration, secret="s3cret", expires_at=None, actor=admin, now=now
    )
    own = registrations.create_own(
        cloud_key="SANDBOX", client_id=factories.guid("own"), actor=admin, now=now
    )
    cloud_idp = factories.cloud_idp(
        HOSTILE[:50],
        tenant_name=HOSTILE,
        consented_by_name=HOSTILE,
        status_detail=HOSTILE,
    )
    AttributeMappings.objects.get_or_create(cloud_idp=cloud_idp)
    person = factories.directory_user(
        HOSTILE,
        cloud_idp,
        user_principal_name=HOSTILE,
        email=HOSTILE,
        department=HOSTILE,
        position=HOSTILE,
    )
    inner = factories.directory_group(HOSTILE, cloud_idp, person)
    group = factories.directory_group(HOSTILE, cloud_idp, inner, description=HOSTILE)
    bound = factories.account_group(HOSTILE[:200])
    factories.bind(bound, group, nested=True)
    factories.entra_account(person, username=HOSTILE[:200])
    device = scoping_factories.make_device(HOSTILE[:100], username=HOSTILE)
    run = SyncRun.objects.create(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.FULL,
        trigger=SyncRun.Trigger.PERSON,
        state=SyncRun.State.FAILED,
        created_at=now,
    )
    sent = sent_requests.send(
        registration=registration,
        cloud_idp=cloud_idp,
        recipient="",
        actor=admin,
        now=now,
    )
    attempt = connect.begin(
        registration=registration,
        cloud_idp=None,
        browser="browser",
        actor=admin,
        now=now,
    )
    return {
        "directory:user-": {"pk": person.pk},
        "directory:group-": {"pk": group.pk},
        "directory:cloud-idp-": {"pk": cloud_idp.pk},
        "directory:syncrun-": {"pk": run.pk},
        "directory:syncrun-plan-": planned(run, person),
        "directory:sent-request-": {"pk": sent.pk},
        "directory:consent-attempt": {"pk": attempt.pk},
        "directory:consent-verify": {"pk": attempt.pk},
        "directory:consent-end": {"pk": attempt.pk},
        "directory:consent-refused": {"reason": "forged"},
        "directory:application-registration-": {"cloud_key": "SANDBOX"},
        "directory:own-registration-": {"pk": own.pk},
        "directory:credential-": {"pk": credential.pk},
        "directory:credential-add": {"pk": registration.pk, "way": "certificate"},
        "accounts:directory-user": {
            "tenant_id": cloud_idp.tenant_id,
            "object_id": person.object_id,
        },
        "accounts:directory-group": {
            "tenant_id": cloud_idp.tenant_id,
            "object_id": group.object_id,
        },
        "scoping:inventoryuser-": {"pk": device.assigned_user_id},
        "scoping:site-": {"pk": scoping_factories.make_site(HOSTILE).pk},
        "scoping:building-": {"pk": scoping_factories.make_building(HOSTILE).pk},
        "scoping:department-": {"pk": scoping_factories.make_department(HOSTILE).pk},
        "scoping:networksegment-": {
            "pk": scoping_factories.make_network_segment(HOSTILE).pk
        },
        "scoping:computer-": {"pk": device.pk},
        "scoping:device-": {"pk": device.pk},
        "connector:": {"flow_id": "0123456789abcdef", "reason": "signature"},
    }


def planned(run: SyncRun, person: DirectoryUser) -> dict[str, Any]:
    """A plan that speaks of hostile names."""
    values = {"display_name": (HOSTILE, HOSTILE), "department": ("", HOSTILE)}
    PlanPart.objects.create(
        run=run,
        section=PlanPart.Section.PEOPLE,
        first=person.pk,
        last=person.pk,
        counts={"changed": 1},
        body=zlib.compress(
            json.dumps(
                [
                    [
                        person.pk,
                        "changed",
                        True,
                        {name: was for name, (was, _) in values.items()},
                        {name: then for name, (_, then) in values.items()},
                    ]
                ]
            ).encode()
        ),
    )
    PlanConsequence.objects.create(
        run=run,
        position=0,
        kind="privileges gained",
        subject="person",
        about=["accounts", "account", 1, HOSTILE, "/settings/accounts/1/"],
        permission="accounts.view_user",
        what=[HOSTILE],
        detail=HOSTILE,
        count=1,
        numbers=BitMap([person.pk]).serialize(),
        groups=b"",
        differences=b"",
    )
    SyncRun.objects.filter(pk=run.pk).update(plan_stored=True)
    return {"pk": run.pk, "section": "people", "number": person.pk, "position": 0}


def address_of(route: Route, world: Given) -> str:
    entry = max(
        (prefix for prefix in world if route.name.startswith(prefix)),
        key=len,
        default="",
    )
    wanted = {name for name, _ in route.arguments}
    given = {k: v for k, v in world.get(entry, {}).items() if k in wanted}
    if wanted - given.keys() and entry_of(route) in OF_A_SITE:
        own = OF_A_SITE[entry_of(route)]
        if "import" not in entry_of(route):
            given |= own(None)
        if "device_pk" in wanted:
            mobile = "mobile" in route.name or "ios" in route.name
            kind = DeviceKind.MOBILE if mobile else DeviceKind.COMPUTER
            given |= {"device_pk": scoping_factories.make_device(kind=kind).pk}
    return route.address(**{k: v for k, v in given.items() if k in wanted})


def fingerprint(*left_out: type[Any]) -> str:
    """A hash over every row of every table."""
    digest = hashlib.sha256()
    for model in apps.get_models():
        if model is AccountSession or model in left_out:
            continue
        rows = model._default_manager.order_by("pk").values_list()
        digest.update(f"{model._meta.label}{list(rows)!r}".encode())
    return digest.hexdigest()


def content(response: Any) -> str:
    raw = b"".join(response) if response.streaming else response.content
    return str(raw.decode(errors="replace"))


# --- Opening pages ---------------------------------------------------------------


def faults_of(response: Any) -> Iterator[str]:
    """What is wrong with any answer of the console, whatever was asked."""
    if response.status_code >= 500:
        yield f"status {response.status_code}"
    cache = response.get("Cache-Control", "")
    if "no-store" not in cache or "private" not in cache:
        yield f"may be kept: {cache!r}"
    policy = response.get("Content-Security-Policy", "")
    if "frame-ancestors 'none'" not in policy or "unsafe" in policy:
        yield f"policy: {policy!r}"
    for header, values in {
        "X-Content-Type-Options": {"nosniff"},
        "X-Frame-Options": {"DENY"},
        "Referrer-Policy": {"same-origin", "no-referrer"},
    }.items():
        if response.get(header) not in values:
            yield f"{header}: {response.get(header)!r}"
    text = content(response)
    if "31338" in text:
        yield "a template runs what somebody is called"
    if "s3cret" in text:
        yield "the secret stands on the page"
    if "html" in response.get("Content-Type", "") and text.strip():
        page = html.fromstring(text)
        if any("alert(1)" in (tag.text or "") for tag in page.iter("script")):
            yield "a script of somebody's name runs"
        if page.xpath("//b[@onx]"):
            yield "a tag of somebody's name is one"
        for form in page.xpath("//form[translate(@method, 'POST', 'post')='post']"):
            if not form.xpath(".//input[@name='csrfmiddlewaretoken'][@value!='']"):
                yield f"a form without its token: {form.get('action') or 'itself'}"


def test_a50_a57_opening_a_page_changes_nothing_and_runs_nothing(
    browser: Client, world: Given
) -> None:
    """A GET writes no row; hostile texts stay texts; nothing is kept or framed."""
    found = []

    for route in ROUTES:
        address = address_of(route, world)
        left_out = MAY_WRITE.get(route.name, ())
        before = fingerprint(*left_out)
        response = browser.get(address)
        found += [f"{route.name}: {fault}" for fault in faults_of(response)]
        if fingerprint(*left_out) != before:
            found.append(f"{route.name}: a GET changed the database")

    assert found == []


def test_hostile_texts_do_reach_the_pages(browser: Client, world: Given) -> None:
    """Else the test above proves nothing."""
    for name in ("directory:user-detail", "directory:group-detail", "history:list"):
        route = next(one for one in ROUTES if one.name == name)
        assert "31337|add:1" in content(browser.get(address_of(route, world)))


@pytest.mark.parametrize("junk", JUNK, ids=["NUL", "short", "long"])
def test_a51_nonsense_in_an_address_is_no_error_of_the_console(
    junk: dict[str, str], browser: Client, world: Given
) -> None:
    """NUL, huge numbers, forged places in lists, columns that are none of a list's."""
    found = []

    for route in ROUTES:
        address = address_of(route, world)
        response = browser.get(address, junk)
        if response.status_code >= 500:
            found.append(f"{route.name}: {response.status_code}")
        if "evil.example" in response.get("Location", ""):
            found.append(f"{route.name}: leads away")

    assert found == []


@pytest.mark.parametrize("junk", JUNK, ids=["NUL", "short", "long"])
def test_a51_nonsense_in_a_form_is_no_error_of_the_console(
    junk: dict[str, str], browser: Client, world: Given
) -> None:
    browser.raise_request_exception = False
    found = []

    for route in ROUTES:
        if route.name == "accounts:logout":
            continue
        address = address_of(route, world)
        with transaction.atomic():
            status = browser.post(address, junk).status_code
            transaction.set_rollback(True)
        if status >= 500:
            found.append(f"{route.name}: {status}")

    assert found == []


# --- Forms of other sites --------------------------------------------------------


def test_a57_a_form_that_another_site_sends_changes_nothing(
    browser: Client, world: Given
) -> None:
    """Logout, consent, save, delete: no form is taken without the token."""
    strict = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
    strict.cookies = browser.cookies
    found = []

    for route in ROUTES:
        address = address_of(route, world)
        before = fingerprint()
        status = strict.post(address, {"confirm": "x", "pk": "1"}).status_code
        if status != 403 or fingerprint() != before:
            found.append(f"{route.name}: {status}")

    assert found == []
    assert "_auth_user_id" in browser.session


# --- Host names ------------------------------------------------------------------


def test_a41_another_host_name_is_refused_and_never_repeated(
    browser: Client, world: Given
) -> None:
    found = []

    for route in ROUTES:
        address = address_of(route, world)
        for headers in (
            {"HTTP_HOST": "evil.example"},
            {"HTTP_HOST": "localhost:8000@evil.example"},
            {"HTTP_X_FORWARDED_HOST": "evil.example"},
            {"HTTP_FORWARDED": "host=evil.example"},
        ):
            response = browser.get(address, **headers)  # type: ignore[arg-type]
            says = content(response) + response.get("Location", "")
            if "evil.example" in says:
                found.append(f"{route.name}: {headers}")

    assert found == []
    assert browser.get("/settings/", HTTP_HOST="evil.example").status_code == 400


# --- Direction overrides ---------------------------------------------------------


def overriding(page: Any) -> Iterator[str]:
    """Texts whose override reaches what stands beside them in the same block."""
    inline = {"a", "strong", "span", "b", "code"}
    for node in page.xpath(".//text()"):
        if OVERRIDE not in node:
            continue
        element = node.getparent()
        while element.tag in inline:
            element = element.getparent()
        alone = element.text_content().strip() == str(node).strip()
        if not alone and element.tag not in {"bdi", "option", "textarea"}:
            yield f"<{element.tag}> {element.text_content().strip()[:200]}"


def test_a50_a_name_that_turns_the_direction_turns_only_itself(
    browser: Client, world: Given
) -> None:
    """On the pages of people and groups, whose names others choose."""
    found = []

    for route in ROUTES:
        if route.name.startswith(("directory:user-", "directory:group-")):
            response = browser.get(address_of(route, world))
            main = html.fromstring(content(response).strip() or "<p>").find(".//main")
            if main is not None:
                found += [f"{route.name}: {one}" for one in overriding(main)]

    assert found == []
