"""Jamf Pro's privilege names, and the Django permissions that each one gives.

A row of the catalogue is a privilege as an administrator ticks it. Views name the
permission; this module is the only place that knows both. Names are Jamf Pro's where
Jamf Pro has them (connections to directories are its "LDAP Servers").
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jamfidp.accounts.levels import PrivilegeSet


class Tab(StrEnum):
    """Where Jamf Pro lists a privilege."""

    OBJECTS = "Objects"
    SETTINGS = "Settings"
    ACTIONS = "Actions"


class Reach(StrEnum):
    """What Site Access does with a privilege."""

    SITE = "the objects of the site"
    # Objects without a site that the work at every site needs.
    SHARED = "everything, also with Site Access"
    FULL = "needs Full Access"


@dataclass(frozen=True, slots=True)
class Privilege:
    name: str
    tab: Tab
    reach: Reach
    permissions: tuple[str, ...]
    # Belongs to the privilege set Auditor.
    reads: bool = False


@dataclass(frozen=True, slots=True)
class ObjectPrivileges:
    """The privileges of one kind of object: a line of the table that people tick."""

    label: str
    privileges: Sequence[Privilege]


def _object(
    label: str,
    *models: str,
    reach: Reach = Reach.SITE,
    read: Reach | None = None,
    verbs: str = "CRUD",
) -> ObjectPrivileges:
    words = {"C": "add", "R": "view", "U": "change", "D": "delete"}
    names = {"C": "Create", "R": "Read", "U": "Update", "D": "Delete"}
    return ObjectPrivileges(
        label,
        [
            Privilege(
                name=f"{names[verb]} {label}",
                tab=Tab.OBJECTS,
                reach=read or reach if verb == "R" else reach,
                permissions=tuple(
                    f"{app}.{words[verb]}_{model}"
                    for app, _, model in (name.partition(".") for name in models)
                ),
                reads=verb == "R",
            )
            for verb in verbs
        ],
    )


OBJECTS: Sequence[ObjectPrivileges] = (
    _object("Computers", "scoping.computer"),
    _object("Mobile Devices", "scoping.mobiledevice"),
    _object("Policies", "scoping.policy"),
    _object("macOS Configuration Profiles", "scoping.macosconfigurationprofile"),
    _object("iOS Configuration Profiles", "scoping.iosconfigurationprofile"),
    _object("Smart Computer Groups", "scoping.smartcomputergroup"),
    _object("Static Computer Groups", "scoping.staticcomputergroup"),
    _object("Smart Mobile Device Groups", "scoping.smartmobiledevicegroup"),
    _object("Static Mobile Device Groups", "scoping.staticmobiledevicegroup"),
    # Jamf Pro writes it in the singular: the people whom devices are assigned to.
    _object("User", "scoping.inventoryuser", reach=Reach.FULL, verbs="RU"),
    _object(
        "Directory Users",
        "directory.directoryuser",
        reach=Reach.FULL,
        read=Reach.SHARED,
        verbs="R",
    ),
    _object(
        "Directory Groups",
        "directory.directorygroup",
        reach=Reach.FULL,
        read=Reach.SHARED,
        verbs="R",
    ),
    _object("LDAP Servers", "directory.cloudidentityprovider", reach=Reach.FULL),
    _object("Accounts", "accounts.user"),
    _object("Account Groups", "accounts.accountgroup"),
    _object("Sites", "scoping.site", reach=Reach.FULL),
    _object("Buildings", "scoping.building", reach=Reach.FULL, read=Reach.SHARED),
    _object("Departments", "scoping.department", reach=Reach.FULL, read=Reach.SHARED),
    _object(
        "Network Segments",
        "scoping.networksegment",
        reach=Reach.FULL,
        read=Reach.SHARED,
    ),
)

SETTINGS: Sequence[Privilege] = (
    Privilege(
        "Read Entra ID Application",
        Tab.SETTINGS,
        Reach.FULL,
        ("directory.view_applicationregistration",),
        reads=True,
    ),
    Privilege(
        "Update Entra ID Application",
        Tab.SETTINGS,
        Reach.FULL,
        ("directory.change_applicationregistration",),
    ),
    Privilege(
        "Read SSO Settings",
        Tab.SETTINGS,
        Reach.FULL,
        ("accounts.view_entrasigninstop",),
        reads=True,
    ),
    Privilege(
        "Update SSO Settings",
        Tab.SETTINGS,
        Reach.FULL,
        ("accounts.change_entrasigninstop",),
    ),
    # Jamf Pro keeps who gets mail beside the mail server.
    Privilege(
        "Read SMTP Server",
        Tab.SETTINGS,
        Reach.FULL,
        ("notices.view_kindsetting",),
        reads=True,
    ),
    Privilege(
        "Update SMTP Server",
        Tab.SETTINGS,
        Reach.FULL,
        ("notices.change_kindsetting",),
    ),
)

ACTIONS: Sequence[Privilege] = (
    Privilege(
        "View Event Logs",
        Tab.ACTIONS,
        Reach.SITE,
        ("history.view_objecthistory",),
        reads=True,
    ),
    Privilege(
        "View JSS Information",
        Tab.ACTIONS,
        Reach.FULL,
        ("jamfidp.view_system",),
        reads=True,
    ),
    Privilege(
        "View Sync Runs",
        Tab.ACTIONS,
        Reach.FULL,
        ("directory.view_syncrun",),
        reads=True,
    ),
    Privilege(
        "Sync Directory",
        Tab.ACTIONS,
        Reach.FULL,
        ("directory.sync_cloudidentityprovider",),
    ),
    Privilege(
        "Approve Held Changes",
        Tab.ACTIONS,
        Reach.FULL,
        ("directory.decide_heldchange",),
    ),
    # Not in Auditor: reading one person at a time is another thing than taking all.
    Privilege(
        "Export Directory", Tab.ACTIONS, Reach.FULL, ("directory.export_directory",)
    ),
)

CATALOGUE: Mapping[str, Privilege] = {
    privilege.name: privilege
    for privilege in (
        *(one for line in OBJECTS for one in line.privileges),
        *SETTINGS,
        *ACTIONS,
    )
}

BY_PERMISSION: Mapping[str, Privilege] = {
    permission: privilege
    for privilege in CATALOGUE.values()
    for permission in privilege.permissions
}

# Jamf Pro gives Enrollment Only the enrollment invitations, which this console does not
# have, and reading and deleting device records.
_ENROLLMENT = frozenset(
    {
        "Read Computers",
        "Delete Computers",
        "Read Mobile Devices",
        "Delete Mobile Devices",
    }
)


def names_of(privilege_set: str, custom: Collection[str]) -> frozenset[str]:
    """Return the privilege names that a privilege set stands for.

    A name that is not in the catalogue gives nothing: it may come from a release that
    knew more.
    """
    match PrivilegeSet(privilege_set):
        case PrivilegeSet.ADMINISTRATOR:
            return frozenset(CATALOGUE)
        case PrivilegeSet.AUDITOR:
            return frozenset(one.name for one in CATALOGUE.values() if one.reads)
        case PrivilegeSet.ENROLLMENT:
            return _ENROLLMENT
        case PrivilegeSet.CUSTOM:
            return frozenset(custom) & CATALOGUE.keys()


def in_reach(names: Collection[str], *, at_site: bool) -> frozenset[str]:
    """Keep what the privileges amount to: Site Access leaves out some of them."""
    return frozenset(
        name for name in names if not at_site or CATALOGUE[name].reach is not Reach.FULL
    )
