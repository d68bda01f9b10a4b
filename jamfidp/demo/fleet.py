"""1,200 devices of the demo company, the same ones every time."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from directory.sandbox import company, generate
from directory.sandbox.directory_object import Kind
from directory.sandbox.sizes import sizes_of
from directory.sandbox.tenant import Tenant
from scoping.models import DeviceKind, LastLogin

COMPUTERS, MOBILE_DEVICES = 900, 300
MAC_MODELS = (
    ("MacBook Pro (14-inch, M4)", ("26.1", "26.0.1", "15.7.2")),
    ("MacBook Air (13-inch, M3)", ("26.1", "15.7.2", "14.8.1")),
    ("Mac Studio (M2 Ultra)", ("26.1", "15.7.2")),
    ("iMac (24-inch, M4)", ("26.0.1", "15.6.1")),
    ("MacBook Pro (13-inch, 2020)", ("15.7.2", "13.7.8")),
)
MOBILE_MODELS = (
    ("iPhone 16", ("26.1", "18.7.2")),
    ("iPhone 14", ("18.7.2", "17.7.2")),
    ("iPad Pro (11-inch, M4)", ("26.1", "18.7.2")),
)
# Accounts that exist on Macs and in no directory.
LOCAL_ACCOUNTS = ("studioadmin", "render", "kiosk")
SITES = ("Bristol Studio", "Montréal Studio")
BUILDINGS = {"Fern House": "Bristol Studio", "Atelier Nord": "Montréal Studio"}
NAMED = tuple(person for person in company.FERNHILL_PEOPLE if not person.guest)
NETWORKS = {
    "Bristol Studio": ("10.20.0.0", "10.20.255.255"),
    "Montréal Studio": ("10.30.0.0", "10.30.255.255"),
    "VPN": ("10.99.0.0", "10.99.255.255"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    kind: DeviceKind
    name: str
    serial_number: str
    model: str
    os_version: str
    managed: bool
    site: str | None
    building: str | None
    ip: str | None
    seen_at: datetime
    assigned_user: str
    # Channel -> (user name, or None when nobody was logged in; when).
    logins: dict[LastLogin.Channel, tuple[str | None, datetime]] = field(
        default_factory=dict
    )


def user_names() -> list[str]:
    """The user principal names of the sandbox's company, its named people first."""
    tenant = Tenant(generate.seed(company.FERNHILL, sizes_of(company.FERNHILL)))
    names = (user.properties["userPrincipalName"] for user in tenant.present(Kind.USER))
    return [name for name in names if "#EXT#" not in name]


def machines(now: datetime) -> Iterator[Machine]:
    """Make the fleet; chance is seeded, so that screenshots and counts repeat."""
    chance = random.Random("fernhill fleet")  # noqa: S311 - not a secret
    people = user_names()
    for number in range(COMPUTERS + MOBILE_DEVICES):
        mobile = number >= COMPUTERS
        position = number - COMPUTERS if mobile else number
        model, systems = chance.choice(MOBILE_MODELS if mobile else MAC_MODELS)
        owner = people[position % len(people)]
        draw = chance.random()
        if number < len(NAMED):
            pass
        elif draw < 0.03:
            owner = chance.choice(LOCAL_ACCOUNTS)
        elif draw < 0.07:
            owner = ""
        building = chance.choice([*BUILDINGS, None])
        site = BUILDINGS.get(building or "")
        third, fourth = chance.randrange(256), chance.randrange(1, 255)
        network = {"Bristol Studio": "10.20", "Montréal Studio": "10.30"}.get(
            site or "", "10.99"
        )
        seen_at = now - timedelta(minutes=chance.randrange(10, 60 * 24 * 20))
        machine = Machine(
            kind=DeviceKind.MOBILE if mobile else DeviceKind.COMPUTER,
            name=f"{'FHM' if mobile else 'FHC'}-{position + 1:04d}",
            serial_number=f"{'F' if mobile else 'C'}02FH{position + 1:06d}",
            model=model,
            os_version=chance.choice(systems),
            managed=chance.random() > 0.02,
            site=site,
            building=building,
            ip=f"{network}.{third}.{fourth}" if chance.random() > 0.03 else None,
            seen_at=seen_at,
            assigned_user=owner,
        )
        if number < len(NAMED):
            # The named people use the first computers, so that stories can count on it.
            for channel in LastLogin.Channel:
                machine.logins[channel] = (owner, seen_at)
        elif not mobile:
            _log_in(machine, chance, people, seen_at)
        yield machine


def _log_in(
    machine: Machine, chance: random.Random, people: list[str], seen_at: datetime
) -> None:
    """Most are used by whom they are assigned to; some by another, some by nobody."""
    for channel in LastLogin.Channel:
        draw = chance.random()
        if draw < 0.05:
            continue
        user: str | None = machine.assigned_user or None
        if draw < 0.10:
            user = None
        elif draw < 0.16:
            user = chance.choice(people)
        machine.logins[channel] = (user, seen_at)
