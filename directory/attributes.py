"""Which Graph properties can fill Jamf Pro's attributes, and which cannot.

https://learn.microsoft.com/graph/api/resources/user#properties
https://learn.microsoft.com/graph/delta-query-overview
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.utils.text import capfirst

from directory.models import AttributeMappings

USER_READ = "User.Read.All"


class Heading(StrEnum):
    """Under which the properties are offered."""

    NAMES = "Names and addresses"
    WORK = "Employment and organization"
    PLACE = "Place and telephone"
    ON_PREMISES = "From Active Directory"
    EXTENSIONS = "Extension attributes (onPremisesExtensionAttributes)"
    ACCOUNT = "Account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A property of a user that Graph lists, and follows in reads of changes.

    `looked_up` says that Graph finds people by its value, which a user name needs.
    """

    name: str
    heading: Heading
    example: str
    kind: str = "Text"
    looked_up: bool = True
    permission: str = USER_READ

    @property
    def outer(self) -> str:
        """What has to be asked for: the object that holds a nested value."""
        return self.name.partition(".")[0]

    @property
    def short(self) -> str:
        return short(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Properties that cannot be mapped, for one reason."""

    names: Sequence[str]
    reason: str
    permission: str = ""


def _texts(heading: Heading, examples: Mapping[str, str]) -> list[Property]:
    return [
        Property(name=name, heading=heading, example=example)
        for name, example in examples.items()
    ]


def _others(heading: Heading, kind: str, examples: Mapping[str, str]) -> list[Property]:
    """Properties that nobody is looked up by: lists, dates, yes or no."""
    return [
        Property(
            name=name, heading=heading, kind=kind, example=example, looked_up=False
        )
        for name, example in examples.items()
    ]


PROPERTIES: Sequence[Property] = (
    Property(
        name="id",
        heading=Heading.NAMES,
        example="5f0f2a3e-6b1c-4b8e-9a59-0d0c8a3c7d11",
        kind="GUID",
        looked_up=False,
    ),
    *_texts(
        Heading.NAMES,
        {
            "userPrincipalName": "ana.ruiz@fernhill.example",
            "displayName": "Ana Ruiz",
            "givenName": "Ana",
            "surname": "Ruiz",
            "mail": "ana.ruiz@fernhill.example",
            "mailNickname": "ana.ruiz",
        },
    ),
    *_others(
        Heading.NAMES,
        "List of texts",
        {
            "otherMails": "ana@ruiz.example",
            "proxyAddresses": "SMTP:ana.ruiz@fernhill.example",
            "imAddresses": "ana.ruiz@fernhill.example",
        },
    ),
    *_texts(
        Heading.WORK,
        {
            "employeeId": "E-10442",
            "employeeType": "Contractor",
            "employeeOrgData.division": "Products",
            "employeeOrgData.costCenter": "4711",
            "department": "Engineering",
            "companyName": "Fernhill Studio",
            "jobTitle": "Frontend Engineer",
        },
    ),
    *_others(
        Heading.WORK, "Date and time", {"employeeHireDate": "2021-03-01T00:00:00Z"}
    ),
    *_texts(
        Heading.PLACE,
        {
            "officeLocation": "Lisbon, 2nd floor",
            "streetAddress": "Rua das Flores 12",
            "city": "Lisbon",
            "state": "Lisboa",
            "postalCode": "1200-195",
            "country": "Portugal",
            "mobilePhone": "+351 910 000 000",
            "faxNumber": "+351 210 000 001",
        },
    ),
    *_others(Heading.PLACE, "List of texts", {"businessPhones": "+351 210 000 000"}),
    *_texts(
        Heading.ON_PREMISES,
        {
            "onPremisesSamAccountName": "aruiz",
            "onPremisesUserPrincipalName": "aruiz@corp.fernhill.example",
            "onPremisesImmutableId": "Q2F0Y2ggbWU0MjQyNDI=",
            "onPremisesSecurityIdentifier": "S-1-5-21-1004336348-1177238915-682003330",
        },
    ),
    # Graph shows these and does not find anybody by them.
    *_others(
        Heading.ON_PREMISES,
        "Text",
        {
            "onPremisesDistinguishedName": "CN=Ana Ruiz,OU=People,DC=corp",
            "onPremisesDomainName": "corp.fernhill.example",
        },
    ),
    *_others(Heading.ON_PREMISES, "Yes or no", {"onPremisesSyncEnabled": "true"}),
    *_others(
        Heading.ON_PREMISES,
        "Date and time",
        {"onPremisesLastSyncDateTime": "2026-11-03T14:02:00Z"},
    ),
    *_texts(
        Heading.EXTENSIONS,
        {
            f"onPremisesExtensionAttributes.extensionAttribute{number}": "Building 4"
            for number in range(1, 16)
        },
    ),
    *_texts(
        Heading.ACCOUNT,
        {
            "userType": "Member",
            "usageLocation": "PT",
            "preferredLanguage": "pt-PT",
            "creationType": "Invitation",
            "externalUserState": "Accepted",
            "ageGroup": "Adult",
            "consentProvidedForMinor": "Granted",
        },
    ),
    *_others(
        Heading.ACCOUNT,
        "Text",
        {
            "legalAgeGroupClassification": "Adult",
            "preferredDataLocation": "EUR",
            "passwordPolicies": "DisablePasswordExpiration",
            "securityIdentifier": "S-1-12-1-1594829374-1200512284-218126746-292371594",
        },
    ),
    *_others(
        Heading.ACCOUNT,
        "Yes or no",
        {
            "accountEnabled": "true",
            "isResourceAccount": "false",
            "isManagementRestricted": "false",
            "showInAddressList": "true",
        },
    ),
    *_others(
        Heading.ACCOUNT,
        "Date and time",
        {
            "createdDateTime": "2021-03-01T09:00:00Z",
            "externalUserStateChangeDateTime": "2021-03-02T10:12:00Z",
            "lastPasswordChangeDateTime": "2026-08-14T07:30:00Z",
            "signInSessionsValidFromDateTime": "2026-08-14T07:30:00Z",
        },
    ),
)

REFUSED: Sequence[Refused] = (
    Refused(
        names=(
            "aboutMe",
            "birthday",
            "hireDate",
            "interests",
            "mySite",
            "pastProjects",
            "preferredName",
            "responsibilities",
            "schools",
            "skills",
        ),
        reason="Kept outside the directory: Graph shows them of one person at a time, "
        "and refuses a read of everybody that names them. employeeHireDate is offered "
        "in place of hireDate.",
    ),
    Refused(
        names=("signInActivity",),
        reason="Another permission is needed, which the console does not ask for.",
        permission="AuditLog.Read.All",
    ),
    Refused(
        names=("mailboxSettings",),
        reason="Another permission is needed, and it stands in the mailbox: Graph "
        "shows it of one person at a time.",
        permission="MailboxSettings.Read",
    ),
    Refused(
        names=("customSecurityAttributes",),
        reason="Another permission is needed, which the console does not ask for.",
        permission="CustomSecAttributeAssignment.Read.All",
    ),
    Refused(
        names=("employeeLeaveDateTime",),
        reason="Another permission is needed, which the console does not ask for.",
        permission="User-LifeCycleInfo.Read.All",
    ),
    Refused(
        names=("deviceEnrollmentLimit",),
        reason="Another permission is needed, and it stands in Intune.",
        permission="DeviceManagementServiceConfig.Read.All",
    ),
    Refused(
        names=("passwordProfile",),
        reason="Graph takes it and never shows it.",
    ),
    Refused(
        names=("deletedDateTime",),
        reason="Empty of everybody who is in the directory.",
    ),
    Refused(
        names=(
            "assignedLicenses",
            "assignedPlans",
            "authorizationInfo",
            "identities",
            "licenseAssignmentStates",
            "onPremisesProvisioningErrors",
            "print",
            "provisionedPlans",
            "serviceProvisioningErrors",
        ),
        reason="Objects with parts of their own, not a value that an attribute holds.",
    ),
    Refused(
        names=("manager",),
        reason="A relationship to another person and not a property: reads of changes "
        "do not follow it.",
    ),
    Refused(
        names=("extension_…",),
        reason="Directory, schema and open extensions belong to one tenant. Reads of changes do not follow schema and "
        "open extensions. Extension attributes 1 to 15 are offered.",
    ),
)

_BY_NAME = {each.name: each for each in PROPERTIES}
USER_PROPERTIES = tuple(_BY_NAME)
# Whoever is found by a look-up is found by the value of one of these.
USER_NAME_PROPERTIES = tuple(each.name for each in PROPERTIES if each.looked_up)
# The console reads these of every group; others would need another permission.
GROUP_NAME_PROPERTIES = ("displayName", "mail")

USER_FIELDS = (
    "user_id",
    "user_name",
    "real_name",
    "email",
    "department",
    "building",
    "room",
    "phone",
    "position",
)
GROUP_FIELDS = ("group_id", "group_name")
LABELS: dict[str, str] = {
    field.name: capfirst(str(field.verbose_name))
    for field in AttributeMappings._meta.fields
    if field.name in (*USER_FIELDS, *GROUP_FIELDS)
}


def property_named(name: str) -> Property | None:
    return _BY_NAME.get(name)


def properties_for(field: str) -> Sequence[str]:
    """Return the Graph properties that may fill an attribute.

    Ids are fixed: people and groups are bound by (tenant ID, object ID) alone.
    """
    if field in ("user_id", "group_id"):
        return ("id",)
    if field == "user_name":
        return USER_NAME_PROPERTIES
    if field == "group_name":
        return GROUP_NAME_PROPERTIES
    return USER_PROPERTIES


def by_heading() -> Sequence[tuple[Heading, Sequence[Property]]]:
    """Return the catalogue as it is shown."""
    return [
        (heading, [each for each in PROPERTIES if each.heading is heading])
        for heading in Heading
    ]


def short(name: str) -> str:
    """Return a property's name without the object around it."""
    return name.removeprefix("onPremisesExtensionAttributes.")


def defaults() -> dict[str, str]:
    """Return Jamf Pro's mappings for Entra ID."""
    fresh = AttributeMappings()
    return {name: getattr(fresh, name) for name in (*USER_FIELDS, *GROUP_FIELDS)}
