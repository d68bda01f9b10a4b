"""Inventory for tests: plain functions with overrides."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

from django.utils import timezone

from scoping import inventory, matching_rows
from scoping.matching import fold
from scoping.models import (
    Building,
    Department,
    Device,
    DeviceKind,
    InventoryUser,
    LastLogin,
    NetworkSegment,
    Site,
)

_serial = count(1)


def make_site(name: str = "Studio") -> Site:
    return Site.objects.create(name=name)


def make_building(name: str = "Mill House") -> Building:
    return Building.objects.create(name=name)


def make_department(name: str = "Design") -> Department:
    return Department.objects.create(name=name)


def make_network_segment(
    name: str = "Studio network", first: str = "10.20.0.0", last: str = "10.20.255.255"
) -> NetworkSegment:
    return NetworkSegment.objects.create(
        name=name, starting_address=first, ending_address=last
    )


def make_inventory_user(username: str, *, now: datetime | None = None) -> InventoryUser:
    """A user name, matched against the directory as it is."""
    found = matching_rows.ensure_users([username], now=now or timezone.now())
    return found[fold(username)]


def make_device(
    name: str = "",
    *,
    kind: DeviceKind = DeviceKind.COMPUTER,
    username: str = "",
    **values: Any,
) -> Device:
    """A managed computer without a site; `username` is its assigned user."""
    number = next(_serial)
    return Device.objects.create(
        **{
            "kind": kind,
            "name": name or f"MBP-{number:04}",
            "serial_number": f"C02T{number:06}",
            "model": "MacBook Pro (14-inch, 2024)",
            "os_version": "15.5",
            "last_inventory_at": timezone.now(),
            "assigned_user": make_inventory_user(username) if username else None,
        }
        | values
    )


def make_mobile_device(name: str = "", **values: Any) -> Device:
    return make_device(
        name,
        kind=DeviceKind.MOBILE,
        **{"model": "iPad Pro", "os_version": "18.5"} | values,
    )


def make_login(
    device: Device,
    user_name: str,
    *,
    channel: LastLogin.Channel = LastLogin.Channel.AGENT,
    at: datetime | None = None,
) -> None:
    """A channel's report; an empty name means that nobody is logged in."""
    now = timezone.now()
    inventory.report_logins(
        [
            inventory.LoginReport(
                device=device,
                channel=channel,
                user_name=user_name,
                reported_at=at or now,
            )
        ],
        actor=None,
        now=now,
    )
