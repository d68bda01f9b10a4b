"""The properties the sandbox knows of each type, and which are given by default.

Names are those of Graph v1.0.
https://learn.microsoft.com/graph/api/resources/user
https://learn.microsoft.com/graph/api/resources/group
"""

from functools import cache

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
        "city",
        "companyName",
        "country",
        "createdDateTime",
        "creationType",
        "deletedDateTime",
        "department",
        "employeeId",
        "employeeType",
        "externalUserState",
        "mailNickname",
        "onPremisesDomainName",
        "onPremisesImmutableId",
        "onPremisesLastSyncDateTime",
        "onPremisesSamAccountName",
        "onPremisesSyncEnabled",
        "onPremisesUserPrincipalName",
        "otherMails",
        "postalCode",
        "preferredName",
        "proxyAddresses",
        "state",
        "streetAddress",
        "usageLocation",
        "userType",
    ),
    Kind.GROUP: ("id", "uniqueName"),
    Kind.DEVICE: ("id", "deletedDateTime", "operatingSystemVersion"),
    Kind.SERVICE_PRINCIPAL: ("id", "deletedDateTime"),
    Kind.ORG_CONTACT: ("id", "deletedDateTime"),
    Kind.DIRECTORY_ROLE: ("id", "deletedDateTime"),
}

_COLLECTIONS: dict[Kind, frozenset[str]] = {
    Kind.USER: frozenset({"businessPhones", "otherMails", "proxyAddresses"}),
    Kind.GROUP: frozenset(
        {
            "groupTypes",
            "proxyAddresses",
            "resourceBehaviorOptions",
            "resourceProvisioningOptions",
            "onPremisesProvisioningErrors",
        }
    ),
}

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


def collections_of(kind: Kind) -> frozenset[str]:
    return _COLLECTIONS.get(kind, frozenset())
