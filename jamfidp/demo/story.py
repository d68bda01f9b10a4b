"""The demo story: a console of Fernhill Studio, ready to be connected.

Writes everything a person would have before connecting Entra: the administrator, the
application registration, sites, devices, policies and profiles. The tenant is not
connected and no privilege is bound: that is what the demo is for.
"""

from datetime import datetime

from django.db import transaction

from directory import credentials, registrations
from directory.entra import SANDBOX_KEY
from directory.sandbox import company
from jamfidp.accounts import validity
from jamfidp.accounts.models import (
    AccessLevel,
    AccountGroup,
    PrivilegeSet,
    User,
)
from jamfidp.demo import fleet
from jamfidp.demo.processes import Installation
from scoping import matching_rows, recompute
from scoping.matching import fold
from scoping.models import (
    Building,
    ConfigurationProfile,
    Department,
    Device,
    DeviceKind,
    LastLogin,
    NetworkSegment,
    Policy,
    Scope,
    ScopeEntry,
    Site,
    SmartGroup,
    SmartGroupCriterion,
    StaticGroup,
)
from scoping.user_location import mark

ADMINISTRATOR = "admin"
# Attributes that follow the directory from the first sync on.
FOLLOWED = ("real_name", "email", "phone", "position", "department")


@transaction.atomic
def write(*, now: datetime, sandbox_application: dict[str, str], password: str) -> None:
    """Write the story, once; on a console that has it, nothing happens."""
    if User.objects.exists():
        return
    administrator = User(
        username=ADMINISTRATOR,
        full_name="Local Administrator",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        created_at=now,
    )
    administrator.set_password(password)
    administrator.save()
    _application(administrator, sandbox_application, now)
    _organization()
    _devices(now)
    _groups()
    _objects()
    _account_groups()
    validity.follow_all(now=now, by=validity.SERVER)
    for kind in DeviceKind.values:
        recompute.recompute(kind, now=now)


def _application(actor: User, application: dict[str, str], now: datetime) -> None:
    """The sandbox has an application registered; the console is given it."""
    registration = registrations.save_client_id(
        cloud_key=SANDBOX_KEY,
        client_id=application["client_id"],
        connections_confirmed=False,
        actor=actor,
        now=now,
    )
    credentials.add_secret(
        registration,
        secret=application["client_secret"],
        expires_at=None,
        actor=actor,
        now=now,
    )


def _organization() -> None:
    for name in fleet.SITES:
        Site.objects.create(name=name)
    for name in fleet.BUILDINGS:
        Building.objects.create(name=name)
    # 'Legal' is missing on purpose: Entra names a department that is not here.
    for name in company.DEPARTMENTS:
        if name != "Legal":
            Department.objects.create(name=name)
    for name, (first, last) in fleet.NETWORKS.items():
        NetworkSegment.objects.create(
            name=name, starting_address=first, ending_address=last
        )


def _devices(now: datetime) -> None:
    machines = list(fleet.machines(now))
    users = matching_rows.ensure_users(
        [
            name
            for machine in machines
            for name in (
                machine.assigned_user,
                *(user for user, _ in machine.logins.values()),
            )
            if name
        ],
        now=now,
    )
    sites = {site.name: site for site in Site.objects.all()}
    buildings = {building.name: building for building in Building.objects.all()}
    follows = mark(Device.Source.DIRECTORY, actor=None, now=now)
    imported = mark(Device.Source.IMPORT, actor=None, now=now)
    devices = []
    for machine in machines:
        device = Device(
            kind=machine.kind,
            name=machine.name,
            serial_number=machine.serial_number,
            model=machine.model,
            os_version=machine.os_version,
            managed=machine.managed,
            site=sites[machine.site] if machine.site else None,
            building=buildings[machine.building] if machine.building else None,
            last_reported_ip=machine.ip,
            last_inventory_at=machine.seen_at,
            assigned_user=users[fold(machine.assigned_user)]
            if machine.assigned_user
            else None,
            sources={
                **(dict.fromkeys(FOLLOWED, follows) if machine.assigned_user else {}),
                **({"building": imported} if machine.building else {}),
            },
        )
        device.fill_search()
        devices.append(device)
    Device.objects.bulk_create(devices, batch_size=500)
    LastLogin.objects.bulk_create(
        [
            LastLogin(
                device=device,
                channel=channel,
                user=users[fold(name)] if name else None,
                reported_at=at,
            )
            for device, machine in zip(devices, machines, strict=True)
            for channel, (name, at) in machine.logins.items()
        ],
        batch_size=500,
    )


def _groups() -> None:
    for name, criterion, operator, value in (
        ("Macs of Design", "Department", "is", "Design"),
        ("Macs before macOS 15", "Operating System Version", "less than", "15.0"),
        ("MacBook Pros", "Model", "like", "MacBook Pro"),
    ):
        group = SmartGroup.objects.create(kind=DeviceKind.COMPUTER, name=name)
        SmartGroupCriterion.objects.create(
            group=group, priority=0, name=criterion, search_type=operator, value=value
        )
    loaners = StaticGroup.objects.create(kind=DeviceKind.COMPUTER, name="Loaners")
    loaners.devices.set(
        Device.objects.filter(kind=DeviceKind.COMPUTER).order_by("-pk")[:12]
    )
    lobby = StaticGroup.objects.create(kind=DeviceKind.MOBILE, name="Lobby iPads")
    lobby.devices.set(
        Device.objects.filter(kind=DeviceKind.MOBILE, model__startswith="iPad")[:6]
    )


def _objects() -> None:
    pros = SmartGroup.objects.get(name="MacBook Pros")
    loaners = StaticGroup.objects.get(name="Loaners")
    for name, category, payload, target in (
        ("Design fonts", "Applications", "Installs the studio's fonts.", None),
        ("Xcode command line tools", "Developer", "Installs Apple's tools.", pros),
        ("VPN client", "Network", "Installs and configures the VPN client.", None),
    ):
        scope = Scope.objects.create(
            kind=DeviceKind.COMPUTER,
            channel=LastLogin.Channel.AGENT,
            all_devices=target is None,
        )
        if target is not None:
            ScopeEntry.objects.create(
                scope=scope,
                role=ScopeEntry.Role.TARGET,
                kind=ScopeEntry.Kind.SMART_GROUP,
                ref_id=target.pk,
                label=target.name,
            )
        Policy.objects.create(
            name=name, category=category, payload=payload, scope=scope
        )
    filevault = Scope.objects.create(
        kind=DeviceKind.COMPUTER, channel=LastLogin.Channel.MDM, all_devices=True
    )
    ScopeEntry.objects.create(
        scope=filevault,
        role=ScopeEntry.Role.EXCLUSION,
        kind=ScopeEntry.Kind.STATIC_GROUP,
        ref_id=loaners.pk,
        label=loaners.name,
    )
    ConfigurationProfile.objects.create(
        kind=DeviceKind.COMPUTER,
        name="FileVault",
        category="Security",
        payload="Turns on disk encryption and escrows the recovery key.",
        scope=filevault,
    )
    ConfigurationProfile.objects.create(
        kind=DeviceKind.MOBILE,
        name="Passcode",
        category="Security",
        payload="Asks for a passcode of six digits.",
        scope=Scope.objects.create(
            kind=DeviceKind.MOBILE,
            channel=LastLogin.Channel.MDM,
            principal=Scope.Principal.ASSIGNED,
            all_devices=True,
        ),
    )


def _account_groups() -> None:
    """Groups with privileges and nobody in them: the demo binds them to Entra."""
    AccountGroup.objects.create(
        display_name="Mac Admins",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
    )
    AccountGroup.objects.create(
        display_name="Security Readers",
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.AUDITOR,
    )
    AccountGroup.objects.create(
        display_name="Helpdesk Bristol",
        access_level=AccessLevel.SITE,
        site=Site.objects.get(name=fleet.SITES[0]),
        privilege_set=PrivilegeSet.CUSTOM,
        privileges=["Read Computers", "Read Mobile Devices", "Read Policies"],
    )


def how_to_sign_in(installation: Installation) -> str:
    """What `make demo` prints when the console is usable."""
    grace, milo = company.GRACE, company.MILO
    return "\n".join(
        [
            "",
            f"  The console:  {installation.console_url}",
            f"  Sign in as:   {ADMINISTRATOR}  {installation.administrator_password}",
            "",
            "  Then Settings > Cloud identity providers > New. At the sandbox tenant",
            "  sign in as its Global Administrator:",
            f"                {grace.upn}  {grace.password}",
            "  Later, as a Mac administrator by directory group:",
            f"                {milo.upn}  {milo.password}",
            "",
            "  Ctrl-C stops everything. What you do is kept in var/demo.",
            "",
        ]
    )
