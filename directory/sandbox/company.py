"""The cast: the two fictional companies whose tenants the sandbox plays.

Named people and groups stand here, each for a situation that matters. The crowd
around them is made by ``generate``. Object ids never change: they are derived from
the tenant's domain and the object's key.
"""

import uuid
from dataclasses import dataclass
from enum import StrEnum

# One published password for everybody: these people do not exist.
PASSWORD = "Sandbox-Tenant-1"  # noqa: S105 published on purpose

_NAMESPACE = uuid.UUID("5f1d3c52-7f0b-4c8e-9d7e-0c2b6f7a4e11")


def object_id(domain: str, kind: str, key: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{domain}/{kind}/{key}"))


class GroupKind(StrEnum):
    SECURITY = "security"
    MAIL_ENABLED_SECURITY = "mail-enabled security"
    DISTRIBUTION = "distribution"
    MICROSOFT_365 = "Microsoft 365"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user of a tenant. ``upn`` and ``mail`` differ where that is the point."""

    object_id: str
    display_name: str
    given_name: str
    surname: str
    upn: str
    mail: str | None
    department: str | None = None
    job_title: str | None = None
    mobile_phone: str | None = None
    office: str | None = None
    company: str | None = None
    employee_id: str | None = None
    enabled: bool = True
    guest: bool = False
    roles: tuple[str, ...] = ()

    @property
    def password(self) -> str:
        return PASSWORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group. ``members`` are object ids; a rule fills a dynamic group by itself."""

    object_id: str
    display_name: str
    nickname: str
    kind: GroupKind = GroupKind.SECURITY
    mail: str | None = None
    description: str | None = None
    rule: str | None = None
    assignable_to_role: bool = False
    hidden_membership: bool = False
    department: str | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A member that is neither user nor group: a device, a service principal, ..."""

    object_id: str
    kind: str
    display_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A tenant: its fixed id, its domains, and how large its crowd is."""

    tenant_id: str
    domain: str
    initial_domain: str
    display_name: str
    people: tuple[Person, ...]
    groups: tuple[Group, ...]
    things: tuple[Thing, ...]
    users_in_all: int
    groups_in_all: int
    memberships_in_all: int
    global_administrator: Person


GLOBAL_ADMINISTRATOR = "Global Administrator"
USER_ADMINISTRATOR = "User Administrator"

# https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
ROLE_TEMPLATES = {
    GLOBAL_ADMINISTRATOR: "62e90394-69f5-4237-9190-012177145e10",
    USER_ADMINISTRATOR: "fe930be7-5e62-47db-91af-98c3a49a38b1",
}

FERNHILL_DOMAIN = "fernhill.example"
QUARREL_DOMAIN = "quarrel.example"


def _fernhill(
    key: str, name: str, title: str, department: str, **more: object
) -> Person:
    given, _, surname = name.partition(" ")
    values: dict[str, object] = {
        "object_id": object_id(FERNHILL_DOMAIN, "users", key),
        "display_name": name,
        "given_name": given,
        "surname": surname,
        "upn": f"{key}@{FERNHILL_DOMAIN}",
        "mail": f"{key}@{FERNHILL_DOMAIN}",
        "department": department,
        "job_title": title,
        "company": "Fernhill Studio",
    }
    return Person(**(values | more))  # type: ignore[arg-type]


GRACE = _fernhill(
    "grace.okafor",
    "Grace Okafor",
    "Head of IT",
    "IT",
    mobile_phone="+44 7700 900101",
    office="Bristol 4.01",
    employee_id="F-0001",
    roles=(GLOBAL_ADMINISTRATOR,),
)
MILO = _fernhill(
    "milo.brandt",
    "Milo Brandt",
    "Mac Administrator",
    "IT",
    mobile_phone="+49 1555 0100102",
    office="Berlin 2.10",
    employee_id="F-0002",
)
ANA = _fernhill(
    "ana.ruiz",
    "Ana Ruiz",
    "Frontend Engineer",
    "Engineering",
    mobile_phone="+34 600 000 103",
    office="Bristol 2.14",
    employee_id="F-0003",
)
SIOBHAN = _fernhill(
    "siobhan.o'neill",
    "Siobhán O'Neill",
    "Security Analyst",
    "IT",
    office="Dublin 1.02",
    employee_id="F-0004",
)
LAYLA = _fernhill(
    "layla.haddad",
    "ليلى حداد",
    "Art Director",
    "Design",
    given_name="ليلى",
    surname="حداد",
    mobile_phone="+971 50 000 0105",
    office="Dubai 7",
    employee_id="F-0005",
)
DAN = _fernhill(
    "dan.leaver",
    "Dan Leaver",
    "Mac Administrator",
    "IT",
    office="Bristol 4.02",
    employee_id="F-0006",
    enabled=False,
)
PAT = _fernhill(
    "pat.vendor",
    "Pat Vendor",
    "Consultant",
    "IT",
    upn=f"pat_vendor.example#EXT#@{'fernhillstudio.onmicrosoft.example'}",
    mail="pat@vendor.example",
    company="Vendor Ltd",
    guest=True,
)
INGRID = _fernhill(
    "ingrid.astrom",
    "Ingrid Åström",
    "Design Intern",
    "Design",
    office="Bristol 2.02",
    employee_id="F-0008",
)
NOOR = _fernhill(
    "noor.dewit",
    "Noor de Wit",
    "Helpdesk Technician",
    "IT",
    office="Utrecht 1.07",
    employee_id="F-0009",
)
TOMAS = _fernhill(
    "tomas.ibarra",
    "Tomás Ibarra",
    "Account Manager",
    "Sales",
    mobile_phone="+34 600 000 110",
    office="Madrid 3.03",
    employee_id="F-0010",
)
USHA = _fernhill(
    "usha.menon",
    "Usha Menon",
    "Identity Administrator",
    "IT",
    office="Bristol 4.01",
    employee_id="F-0011",
    roles=(USER_ADMINISTRATOR,),
)
# A user with nothing but a name: every optional attribute is null.
WREN = Person(
    object_id=object_id(FERNHILL_DOMAIN, "users", "wren"),
    display_name="Wren",
    given_name="Wren",
    surname="Poole",
    upn=f"wren@{FERNHILL_DOMAIN}",
    mail=None,
)

FERNHILL_PEOPLE = (
    GRACE,
    MILO,
    ANA,
    SIOBHAN,
    LAYLA,
    DAN,
    PAT,
    INGRID,
    NOOR,
    TOMAS,
    USHA,
    WREN,
)


def _fernhill_id(nickname: str) -> str:
    return object_id(FERNHILL_DOMAIN, "groups", nickname)


def _group(nickname: str, name: str, *members: str, **more: object) -> Group:
    values: dict[str, object] = {
        "object_id": _fernhill_id(nickname),
        "display_name": name,
        "nickname": nickname,
        "members": members,
    }
    if more.get("kind", GroupKind.SECURITY) is not GroupKind.SECURITY:
        values["mail"] = f"{nickname}@{FERNHILL_DOMAIN}"
    return Group(**(values | more))  # type: ignore[arg-type]


STUDIO_MACS = tuple(
    Thing(
        object_id=object_id(FERNHILL_DOMAIN, "devices", name),
        kind="device",
        display_name=name,
    )
    for name in ("FERN-MBP-0001", "FERN-MBP-0002", "FERN-STUDIO-0003")
)
BUILD_ROBOT = Thing(
    object_id=object_id(FERNHILL_DOMAIN, "servicePrincipals", "build-robot"),
    kind="servicePrincipal",
    display_name="Build Robot",
)
PRINT_SHOP = Thing(
    object_id=object_id(FERNHILL_DOMAIN, "contacts", "print-shop"),
    kind="orgContact",
    display_name="Print Shop",
)

MAC_ADMINS = _group(
    "mac-admins",
    "Mac Admins",
    MILO.object_id,
    DAN.object_id,
    PAT.object_id,
    description="Administer every Mac of the studio.",
)
SECURITY_READERS = _group(
    "security-readers",
    "Security Readers",
    SIOBHAN.object_id,
    description="May look at everything and change nothing.",
)
HELPDESK_NIGHT = _group("helpdesk-night", "Helpdesk Night", NOOR.object_id)
HELPDESK = _group("helpdesk", "Helpdesk", HELPDESK_NIGHT.object_id)
INTERNS = _group("interns", "Interns", INGRID.object_id)

# Four deep: Studio > Engineering > Frontend > Design Systems.
DESIGN_SYSTEMS = _group("design-systems", "Design Systems", LAYLA.object_id)
FRONTEND = _group("frontend", "Frontend", ANA.object_id, DESIGN_SYSTEMS.object_id)
BACKEND = _group("backend", "Backend")
ENGINEERING = _group(
    "engineering",
    "Engineering",
    FRONTEND.object_id,
    BACKEND.object_id,
    description="Everybody who ships code.",
)
STUDIO = _group("studio", "Studio", ENGINEERING.object_id, _fernhill_id("design"))

# A cycle: On Call is in Platform, and Platform is in On Call.
PLATFORM = _group("platform", "Platform", _fernhill_id("on-call"), MILO.object_id)
ON_CALL = _group("on-call", "On Call", _fernhill_id("platform"), NOOR.object_id)

# A diamond: Principals reach Studio Leads by two ways.
PRINCIPALS = _group("principals", "Principals", LAYLA.object_id, ANA.object_id)
DESIGN_LEADS = _group("design-leads", "Design Leads", PRINCIPALS.object_id)
ENGINEERING_LEADS = _group(
    "engineering-leads", "Engineering Leads", PRINCIPALS.object_id
)
STUDIO_LEADS = _group(
    "studio-leads",
    "Studio Leads",
    DESIGN_LEADS.object_id,
    ENGINEERING_LEADS.object_id,
)

# Two groups of one name: only mail and id tell them apart.
CONTRACTORS_IT = _group(
    "contractors-it",
    "Contractors",
    PAT.object_id,
    kind=GroupKind.MAIL_ENABLED_SECURITY,
    mail=f"contractors.it@{FERNHILL_DOMAIN}",
    description="External people who work for IT.",
)
CONTRACTORS_DESIGN = _group(
    "contractors-design",
    "Contractors",
    kind=GroupKind.MICROSOFT_365,
    mail=f"contractors.design@{FERNHILL_DOMAIN}",
    description="Freelancers of the design floor.",
)

ALL_STAFF = _group(
    "all-staff",
    "All Staff",
    rule='(user.accountEnabled -eq true) and (user.userType -eq "Member")',
    description="Everybody who works here.",
)
DESIGNERS = _group(
    "designers",
    "Designers",
    rule='user.department -eq "Design"',
    department="Design",
)
CONSOLE_ADMINISTRATORS = _group(
    "console-administrators",
    "Console Administrators",
    GRACE.object_id,
    assignable_to_role=True,
    description="Role-assignable: only privileged administrators change it.",
)
FERNHILL_NEWS = _group(
    "fernhill-news",
    "Fernhill News",
    GRACE.object_id,
    ANA.object_id,
    TOMAS.object_id,
    kind=GroupKind.MICROSOFT_365,
)
FINANCE_APPROVERS = _group(
    "finance-approvers",
    "Finance Approvers",
    TOMAS.object_id,
    kind=GroupKind.MAIL_ENABLED_SECURITY,
)
REORGANIZATION = _group(
    "reorganization",
    "Reorganization",
    GRACE.object_id,
    LAYLA.object_id,
    kind=GroupKind.MICROSOFT_365,
    hidden_membership=True,
    description="Its membership is hidden.",
)
STUDIO_MACS_GROUP = _group(
    "studio-macs",
    "Studio Macs",
    *(mac.object_id for mac in STUDIO_MACS),
    MILO.object_id,
    description="Devices and one person.",
)
BUILD_AUTOMATION = _group(
    "build-automation",
    "Build Automation",
    BUILD_ROBOT.object_id,
    ANA.object_id,
)
SUPPLIERS = _group(
    "suppliers",
    "Suppliers",
    PRINT_SHOP.object_id,
    kind=GroupKind.DISTRIBUTION,
)
ALUMNI = _group("alumni", "Alumni", description="Nobody yet.")
MONTREAL = _group("equipe-montreal", "Équipe Montréal")
DUBAI = _group("dubai-team", "فريق دبي", LAYLA.object_id)
LAB = _group("lab", 'R&D <Lab> "O\'Hara"')

DEPARTMENTS = (
    "Design",
    "Engineering",
    "Marketing",
    "Finance",
    "IT",
    "Sales",
    "Production",
    "People",
    "Legal",
    "Operations",
)
# Engineering's group is nested; the other departments have a plain group each.
DEPARTMENT_GROUPS = tuple(
    _group(name.lower(), name, department=name)
    for name in DEPARTMENTS
    if name != "Engineering"
)
DESIGN = DEPARTMENT_GROUPS[0]

FERNHILL_GROUPS = (
    MAC_ADMINS,
    SECURITY_READERS,
    HELPDESK,
    HELPDESK_NIGHT,
    INTERNS,
    STUDIO,
    ENGINEERING,
    FRONTEND,
    BACKEND,
    DESIGN_SYSTEMS,
    PLATFORM,
    ON_CALL,
    STUDIO_LEADS,
    DESIGN_LEADS,
    ENGINEERING_LEADS,
    PRINCIPALS,
    CONTRACTORS_IT,
    CONTRACTORS_DESIGN,
    ALL_STAFF,
    DESIGNERS,
    CONSOLE_ADMINISTRATORS,
    FERNHILL_NEWS,
    FINANCE_APPROVERS,
    REORGANIZATION,
    STUDIO_MACS_GROUP,
    BUILD_AUTOMATION,
    SUPPLIERS,
    ALUMNI,
    MONTREAL,
    DUBAI,
    LAB,
    *DEPARTMENT_GROUPS,
)

FERNHILL = Company(
    tenant_id="7d3f1c60-2a4e-4b71-9a55-f0e41c0a1e01",
    domain=FERNHILL_DOMAIN,
    initial_domain="fernhillstudio.onmicrosoft.example",
    display_name="Fernhill Studio",
    people=FERNHILL_PEOPLE,
    groups=FERNHILL_GROUPS,
    things=(*STUDIO_MACS, BUILD_ROBOT, PRINT_SHOP),
    users_in_all=1_000,
    groups_in_all=120,
    memberships_in_all=5_000,
    global_administrator=GRACE,
)


def _quarrel(key: str, name: str, title: str, **more: object) -> Person:
    given, _, surname = name.partition(" ")
    values: dict[str, object] = {
        "object_id": object_id(QUARREL_DOMAIN, "users", key),
        "display_name": name,
        "given_name": given,
        "surname": surname,
        "upn": f"{key}@{QUARREL_DOMAIN}",
        "mail": f"{key}@{QUARREL_DOMAIN}",
        "department": "Office",
        "job_title": title,
        "company": "Quarrel & Sons",
    }
    return Person(**(values | more))  # type: ignore[arg-type]


BERTRAM = _quarrel(
    "bertram.quarrel", "Bertram Quarrel", "Owner", roles=(GLOBAL_ADMINISTRATOR,)
)
# Her mail is Ana Ruiz's of Fernhill: mail proves nothing about who somebody is.
ANA_IMPOSTOR = _quarrel(
    "a.ruiz", "Ana Ruiz", "Clerk", mail=f"ana.ruiz@{FERNHILL_DOMAIN}"
)
HUGH = _quarrel("hugh.quarrel", "Hugh Quarrel", "Mac Administrator")

# The same name as Fernhill's group, in another tenant.
QUARREL_MAC_ADMINS = Group(
    object_id=object_id(QUARREL_DOMAIN, "groups", "mac-admins"),
    display_name="Mac Admins",
    nickname="mac-admins",
    members=(HUGH.object_id, ANA_IMPOSTOR.object_id),
)
QUARREL_OFFICE = Group(
    object_id=object_id(QUARREL_DOMAIN, "groups", "office"),
    display_name="Office",
    nickname="office",
    department="Office",
    members=(QUARREL_MAC_ADMINS.object_id,),
)

QUARREL = Company(
    tenant_id="b1c7e8d2-5c39-4f0d-8e6b-3a9d27f4c902",
    domain=QUARREL_DOMAIN,
    initial_domain="quarrelandsons.onmicrosoft.example",
    display_name="Quarrel & Sons",
    people=(BERTRAM, ANA_IMPOSTOR, HUGH),
    groups=(QUARREL_MAC_ADMINS, QUARREL_OFFICE),
    things=(),
    users_in_all=40,
    groups_in_all=6,
    memberships_in_all=70,
    global_administrator=BERTRAM,
)

COMPANIES: tuple[Company, ...] = (FERNHILL, QUARREL)

PIA = Person(
    object_id="00000000-0000-0000-4a1b-0c5d3e7f2a90",
    display_name="Pia Holm",
    given_name="Pia",
    surname="Holm",
    upn="pia.holm@outlook.example",
    mail="pia.holm@outlook.example",
)

# The tenant of personal Microsoft accounts, which is nobody's organization.
# https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
CONSUMERS = Company(
    tenant_id="9188040d-6c67-4c5b-b112-36a304b66dad",
    domain="outlook.example",
    initial_domain="outlook.example",
    display_name="Microsoft account",
    people=(PIA,),
    groups=(),
    things=(),
    users_in_all=1,
    groups_in_all=0,
    memberships_in_all=0,
    global_administrator=PIA,
)
