"""Every route: who may open it, and that a foreign site's objects are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from jamfidp.accounts.models import Block, User
from jamfidp.accounts.privileges import BY_PERMISSION, CATALOGUE
from jamfidp.notices.announce import announce
from jamfidp.notices.kinds import KINDS, LOCAL_SIGN_IN
from scoping import importing
from scoping.models import (
    ConfigurationProfile,
    DeviceKind,
    Policy,
    Scope,
    Site,
    SmartGroup,
    StaticGroup,
)
from tests import factories, scoping_factories

MARKS = ("privilege", "signed_in", "public")
# Stand-ins of routes' arguments: privileges are asked for before anything is looked up.
STAND_INS: dict[str, Any] = {"int": 999_999, "slug": "stand-in", "str": "stand-in"}
_serial = count(1)


@dataclass(frozen=True)
class Route:
    name: str
    view: Any
    arguments: tuple[tuple[str, str], ...]

    @property
    def privileges(self) -> tuple[str, ...]:
        return getattr(self.view, "privilege", ())

    def address(self, **arguments: Any) -> str:
        given = {name: STAND_INS[kind] for name, kind in self.arguments}
        return reverse(self.name, kwargs=given | arguments)


def walk(resolver: Any, namespace: str = "") -> Iterator[Route]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from walk(pattern, namespace + inner)
        elif isinstance(pattern, URLPattern):
            converters = {
                name: type(converter).__name__.removesuffix("Converter").lower()
                for name, converter in pattern.pattern.converters.items()
            }
            yield Route(
                f"{namespace}{pattern.name}",
                pattern.callback,
                tuple(
                    (name, "str" if kind == "string" else kind)
                    for name, kind in converters.items()
                ),
            )


ROUTES = list(walk(get_resolver()))


def named(route: Route) -> str:
    return route.name


def ask(client: Client, address: str) -> Any:
    """Open the page; where it only takes a form, send an empty one."""
    response = client.get(address)
    return client.post(address) if response.status_code == 405 else response


# --- Marks -----------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_every_view_says_in_one_way_who_may_open_it(route: Route) -> None:
    marks = [mark for mark in MARKS if hasattr(route.view, mark)]

    assert len(marks) == 1, f"{route.name} has {marks or 'no mark'} of {MARKS}"


def test_every_privilege_that_a_view_names_is_in_the_catalogue() -> None:
    named_by_views = {one for route in ROUTES for one in route.privileges}

    assert named_by_views - BY_PERMISSION.keys() == set()


def test_every_privilege_that_a_kind_of_notice_names_is_in_the_catalogue() -> None:
    named_by_kinds = {kind.privilege for kind in KINDS.values()} - {""}

    assert named_by_kinds - BY_PERMISSION.keys() == set()


# --- Who is let in ---------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "route", [one for one in ROUTES if not hasattr(one.view, "public")], ids=named
)
def test_whoever_is_not_signed_in_is_sent_to_the_sign_in_page(route: Route) -> None:
    response = Client(SERVER_NAME="localhost").get(route.address())

    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=")


@pytest.fixture(scope="module")
def privileged() -> list[tuple[Route, str]]:
    return [(route, one) for route in ROUTES for one in route.privileges]


@pytest.mark.django_db
def test_a_view_refuses_whoever_lacks_one_of_its_privileges(
    privileged: list[tuple[Route, str]],
) -> None:
    let_in = []
    clients: dict[str, Client] = {}

    for route, permission in privileged:
        lacking = BY_PERMISSION[permission].name
        if lacking not in clients:
            others = sorted(CATALOGUE.keys() - {lacking})
            clients[lacking] = Client(SERVER_NAME="localhost")
            clients[lacking].force_login(
                factories.custom_account(f"lacks {lacking}", *others)
            )
        response = ask(clients[lacking], route.address())
        if response.status_code != 403 or lacking not in response.content.decode():
            let_in.append((route.name, lacking, response.status_code))

    assert let_in == []
    assert privileged


# --- Sites -----------------------------------------------------------------------

Made = dict[str, Any]


def _name() -> str:
    return f"Object {next(_serial)}"


def _device(kind: DeviceKind) -> Callable[[Site | None], Made]:
    return lambda site: {"pk": scoping_factories.make_device(kind=kind, site=site).pk}


def _import(kind: DeviceKind) -> Callable[[Site | None], Made]:
    """An import is its uploader's alone, whatever its site: others are strangers."""

    def make(site: Site | None) -> Made:
        own = site is not None and site.name == "Berlin"
        uploader = (
            User.objects.get(username="berlin")
            if own
            else factories.administrator(_name())
        )
        found = importing.upload(
            content=b"Serial Number\nC02T000001\n",
            file_name="devices.csv",
            kind=kind,
            site=site,
            look_up=False,
            actor=uploader,
            now=timezone.now(),
        )
        return {"pk": found.pk}

    return make


def _policy(site: Site | None) -> Made:
    scope = Scope.objects.create(kind=DeviceKind.COMPUTER)
    return {"pk": Policy.objects.create(name=_name(), site=site, scope=scope).pk}


def _profile(kind: DeviceKind) -> Callable[[Site | None], Made]:
    def make(site: Site | None) -> Made:
        scope = Scope.objects.create(kind=kind)
        profile = ConfigurationProfile.objects.create(
            kind=kind, name=_name(), site=site, scope=scope
        )
        return {"pk": profile.pk}

    return make


def _smart(kind: DeviceKind) -> Callable[[Site | None], Made]:
    return lambda site: {
        "pk": SmartGroup.objects.create(kind=kind, name=_name(), site=site).pk
    }


def _static(kind: DeviceKind) -> Callable[[Site | None], Made]:
    return lambda site: {
        "pk": StaticGroup.objects.create(kind=kind, name=_name(), site=site).pk
    }


def _account(site: Site | None) -> Made:
    if site is None:
        return {"pk": factories.local_account(_name()).pk}
    account = factories.custom_account(
        _name(), "Read Policies", access_level="SITE", site=site
    )
    return {"pk": account.pk}


def _account_group(site: Site | None) -> Made:
    values: dict[str, Any] = {"site": site} if site else {}
    return {"pk": factories.account_group(_name(), **values).pk}


def _binding(site: Site | None) -> Made:
    from directory.models import CloudIdentityProvider

    group = factories.account_group(_name(), **({"site": site} if site else {}))
    cloud_idp = CloudIdentityProvider.objects.first() or factories.cloud_idp()
    binding = factories.bind(group, factories.directory_group(_name(), cloud_idp))
    return {"pk": group.pk, "binding_pk": binding.pk}


def _block(site: Site | None) -> Made:
    account = User.objects.get(pk=_account(site)["pk"])
    block = Block.objects.create(
        account=account, name=str(account), reason="x", blocked_at=timezone.now()
    )
    return {"pk": block.pk}


def _notice(site: Site | None) -> Made:
    about = _policy(site)
    notice = announce(
        kind=LOCAL_SIGN_IN,
        title=_name(),
        about=Policy.objects.get(pk=about["pk"]),
        now=timezone.now(),
    )
    return {"pk": notice.pk}


def _device_for(route: Route, site: Site | None) -> int:
    """The device of a route that names an object and a device."""
    mobile = "mobile" in route.name or "ios" in route.name
    kind = DeviceKind.MOBILE if mobile else DeviceKind.COMPUTER
    return int(_device(kind)(site)["pk"])


COMPUTER, MOBILE = DeviceKind.COMPUTER, DeviceKind.MOBILE

# The longest prefix of a route's name decides. Objects here belong to a site.
OF_A_SITE: dict[str, Callable[[Site | None], Made]] = {
    "accounts:user-": _account,
    "accounts:accountgroup-": _account_group,
    "accounts:binding-new": _account_group,
    "accounts:binding-delete": _binding,
    "accounts:block-lift": _block,
    "notices:": _notice,
    "scoping:computer-": _device(COMPUTER),
    "scoping:device-": _device(COMPUTER),
    "scoping:computer-import-": _import(COMPUTER),
    "scoping:mobiledevice-": _device(MOBILE),
    "scoping:mobiledevice-import-": _import(MOBILE),
    "scoping:policy-": _policy,
    "scoping:macosconfigurationprofile-": _profile(COMPUTER),
    "scoping:iosconfigurationprofile-": _profile(MOBILE),
    "scoping:smartcomputergroup-": _smart(COMPUTER),
    "scoping:smartmobiledevicegroup-": _smart(MOBILE),
    "scoping:staticcomputergroup-": _static(COMPUTER),
    "scoping:staticmobiledevicegroup-": _static(MOBILE),
}

# Objects here belong to none, and why that is so.
OF_NO_SITE = {
    "directory:": "a directory belongs to the whole console",
    "connector:": "the connector knows no objects",
    "scoping:site-": "sites themselves need Full Access",
    "scoping:building-": "buildings are shared by all sites",
    "scoping:department-": "departments are shared by all sites",
    "scoping:networksegment-": "network segments are shared by all sites",
    "scoping:inventoryuser-": "who is who needs Full Access",
    "accounts:person-block": "somebody of a directory; needs Full Access",
    "accounts:entra-": "single sign-on belongs to the whole console",
    "accounts:passkey-": "one's own alone, whatever the site",
    "accounts:directory-": "parts of directory pages, filtered row by row",
}


def entry_of(route: Route) -> str:
    """The prefix that speaks for a route; empty when nobody has thought of it."""
    known = [*OF_A_SITE, *OF_NO_SITE]
    return max(
        (prefix for prefix in known if route.name.startswith(prefix)),
        key=len,
        default="",
    )


WITH_ARGUMENTS = [route for route in ROUTES if route.arguments]


@pytest.mark.parametrize("route", WITH_ARGUMENTS, ids=named)
def test_every_route_to_an_object_says_whether_it_belongs_to_a_site(
    route: Route,
) -> None:
    assert entry_of(route), "Add it to OF_A_SITE or OF_NO_SITE in this file."


@pytest.mark.django_db
@pytest.mark.parametrize(
    "route", [one for one in WITH_ARGUMENTS if entry_of(one) in OF_A_SITE], ids=named
)
def test_a52_an_object_of_another_site_or_of_none_is_not_there(route: Route) -> None:
    make = OF_A_SITE[entry_of(route)]
    berlin, paris = factories.site("Berlin"), factories.site("Paris")
    account = factories.local_account("berlin")
    factories.account_group("Berlin administrators", account, site=berlin)
    client = Client(SERVER_NAME="localhost")
    client.force_login(account)

    def answer(site: Site | None, device_site: Site | None) -> int:
        arguments = make(site)
        if "device_pk" in dict(route.arguments):
            arguments |= {"device_pk": _device_for(route, device_site)}
        return int(ask(client, route.address(**arguments)).status_code)

    assert answer(paris, berlin) == 404
    assert answer(None, berlin) == 404
    assert answer(berlin, berlin) not in (403, 404)
    if "device_pk" in dict(route.arguments):
        assert answer(berlin, paris) == 404
        assert answer(berlin, None) == 404
