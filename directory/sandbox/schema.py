"""The properties the sandbox knows of each type, and which are given by default.

Names are those of Graph v1.0.
https://learn.microsoft.com/graph/api/resources/user
https://learn.microsoft.com/graph/api/resources/group
"""

import re
from functools import cache
from typing import Any

from directory.sandbox.directory_object import Kind

DEFAULTS: dict[Kind, tuple[str, ...]] = {
    Kind.USER: (
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    ),
    Kind.GROUP: (
        "deletedDateTime",
        "classification",
        "createdDateTime",
        "description",
        "displayName",
        "expirationDateTime",
        "groupTypes",
        "isAssignableToRole",
        "mail",
        "mailEnabled",
        "mailNickname",
        "membershipRule",
        "membershipRuleProcessingState",
        "onPremisesDomainName",
        "onPremisesLastSyncDateTime",
        "onPremisesNetBiosName",
        "onPremisesSamAccountName",
        "onPremisesSecurityIdentifier",
        "onPremisesSyncEnabled",
        "preferredDataLocation",
        "preferredLanguage",
        "proxyAddresses",
        "renewedDateTime",
        "resourceBehaviorOptions",
        "resourceProvisioningOptions",
        "securityEnabled",
        "securityIdentifier",
        "theme",
        "visibility",
        "onPremisesProvisioningErrors",
    ),
    Kind.DEVICE: ("displayName", "deviceId", "operatingSystem", "accountEnabled"),
    Kind.SERVICE_PRINCIPAL: ("displayName", "appId"),
    Kind.ORG_CONTACT: ("displayName", "mail"),
    Kind.DIRECTORY_ROLE: ("description", "displayName", "roleTemplateId"),
}

_MORE: dict[Kind, tuple[str, ...]] = {
    Kind.USER: (
        "id",
        "accountEnabled",
        "ageGroup",
        "assignedLicenses",
        "assignedPlans",
        "city",
        "companyName",
        "consentProvidedForMinor",
        "country",
        "createdDateTime",
        "creationType",
        "deletedDateTime",
        "department",
        "employeeHireDate",
        "employeeId",
        "employeeLeaveDateTime",
        "employeeOrgData",
        "employeeType",
        "externalUserState",
        "externalUserStateChangeDateTime",
        "faxNumber",
        "identities",
        "imAddresses",
        "isManagementRestricted",
        "isResourceAccount",
        "lastPasswordChangeDateTime",
        "legalAgeGroupClassification",
        "licenseAssignmentStates",
        "mailNickname",
        "onPremisesDistinguishedName",
        "onPremisesDomainName",
        "onPremisesExtensionAttributes",
        "onPremisesImmutableId",
        "onPremisesLastSyncDateTime",
        "onPremisesProvisioningErrors",
        "onPremisesSamAccountName",
        "onPremisesSecurityIdentifier",
        "onPremisesSyncEnabled",
        "onPremisesUserPrincipalName",
        "otherMails",
        "passwordPolicies",
        "postalCode",
        "preferredDataLocation",
        "provisionedPlans",
        "proxyAddresses",
        "securityIdentifier",
        "serviceProvisioningErrors",
        "showInAddressList",
        "signInSessionsValidFromDateTime",
        "state",
        "streetAddress",
        "usageLocation",
        "userType",
    ),
    Kind.GROUP: (
        "id",
        "assignedLabels",
        "assignedLicenses",
        "hasMembersWithLicenseErrors",
        "isManagementRestricted",
        "licenseProcessingState",
        "onPremisesExtensionAttributes",
        "serviceProvisioningErrors",
        "uniqueName",
    ),
    Kind.DEVICE: ("id", "deletedDateTime", "operatingSystemVersion"),
    Kind.SERVICE_PRINCIPAL: ("id", "deletedDateTime"),
    Kind.ORG_CONTACT: ("id", "deletedDateTime"),
    Kind.DIRECTORY_ROLE: ("id", "deletedDateTime"),
}

_COLLECTIONS: dict[Kind, frozenset[str]] = {
    Kind.USER: frozenset(
        {
            "assignedLicenses",
            "assignedPlans",
            "businessPhones",
            "identities",
            "imAddresses",
            "interests",
            "licenseAssignmentStates",
            "onPremisesProvisioningErrors",
            "otherMails",
            "pastProjects",
            "provisionedPlans",
            "proxyAddresses",
            "responsibilities",
            "schools",
            "serviceProvisioningErrors",
            "skills",
        }
    ),
    Kind.GROUP: frozenset(
        {
            "assignedLabels",
            "assignedLicenses",
            "serviceProvisioningErrors",
            "groupTypes",
            "proxyAddresses",
            "resourceBehaviorOptions",
            "resourceProvisioningOptions",
            "onPremisesProvisioningErrors",
        }
    ),
}

# Kept outside the directory: shown of one object at a time, and never in a list.
# https://learn.microsoft.com/graph/delta-query-overview#properties-stored-outside-of-the-main-data-store
OUTSIDE: dict[Kind, frozenset[str]] = {
    Kind.USER: frozenset(
        {
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
        }
    ),
    Kind.GROUP: frozenset(
        {
            "allowExternalSenders",
            "autoSubscribeNewMembers",
            "hideFromAddressLists",
            "hideFromOutlookClients",
            "isSubscribedByMail",
            "unseenCount",
        }
    ),
}
_NO_DATES = frozenset({"birthday", "hireDate"})
# https://learn.microsoft.com/graph/extensibility-overview#directory-microsoft-entra-id-extensions
EXTENSION = re.compile(r"extension_[0-9a-f]{32}_\w+", re.IGNORECASE)

ORGANIZATION = (
    "deletedDateTime",
    "businessPhones",
    "city",
    "country",
    "countryLetterCode",
    "createdDateTime",
    "displayName",
    "marketingNotificationEmails",
    "onPremisesLastSyncDateTime",
    "onPremisesSyncEnabled",
    "postalCode",
    "preferredLanguage",
    "securityComplianceNotificationMails",
    "securityComplianceNotificationPhones",
    "state",
    "street",
    "technicalNotificationMails",
    "tenantType",
    "verifiedDomains",
)
ORGANIZATION_COLLECTIONS = frozenset(
    {
        "businessPhones",
        "marketingNotificationEmails",
        "securityComplianceNotificationMails",
        "securityComplianceNotificationPhones",
        "technicalNotificationMails",
    }
)


@cache
def declared(kind: Kind) -> dict[str, str]:
    """Return lower-case name -> name: Graph's $select ignores case."""
    return {name.lower(): name for name in (*DEFAULTS[kind], *_MORE[kind])}


@cache
def outside(kind: Kind) -> dict[str, str]:
    return {name.lower(): name for name in OUTSIDE.get(kind, ())}


def empty(kind: Kind, name: str) -> Any:
    """Return what an unset property is shown as."""
    if name in _COLLECTIONS.get(kind, ()):
        return []
    if name == "onPremisesExtensionAttributes":
        return {f"extensionAttribute{number}": None for number in range(1, 16)}
    return "0001-01-01T00:00:00Z" if name in _NO_DATES else None
