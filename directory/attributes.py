"""Which Graph properties can fill Jamf Pro's attributes.

https://learn.microsoft.com/graph/api/resources/user#properties
Properties that Graph returns for a list of users with User.Read.All, as text.
"""

from collections.abc import Sequence

from django.utils.text import capfirst

from directory.models import AttributeMappings

_USER_PROPERTIES = (
    "id",
    "userPrincipalName",
    "displayName",
    "givenName",
    "surname",
    "mail",
    "mailNickname",
    "department",
    "companyName",
    "officeLocation",
    "jobTitle",
    "mobilePhone",
    "businessPhones",
    "faxNumber",
    "employeeId",
    "employeeType",
    "streetAddress",
    "city",
    "state",
    "postalCode",
    "country",
    "usageLocation",
    "preferredLanguage",
    "onPremisesSamAccountName",
    "onPremisesUserPrincipalName",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "onPremisesImmutableId",
    "onPremisesSecurityIdentifier",
)
_EXTENSIONS = tuple(
    f"onPremisesExtensionAttributes.extensionAttribute{number}"
    for number in range(1, 16)
)

# What identifies a person in every answer, without having to be unique forever.
USER_NAME_PROPERTIES = (
    "userPrincipalName",
    "mail",
    "mailNickname",
    "employeeId",
    "onPremisesSamAccountName",
    "onPremisesUserPrincipalName",
    *_EXTENSIONS,
)
USER_PROPERTIES = (*_USER_PROPERTIES, *_EXTENSIONS)
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


def defaults() -> dict[str, str]:
    """Return Jamf Pro's mappings for Entra ID."""
    fresh = AttributeMappings()
    return {name: getattr(fresh, name) for name in (*USER_FIELDS, *GROUP_FIELDS)}
