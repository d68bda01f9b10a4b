"""What Graph shows of a person and of a group, as the cast and the crowd describe them."""

import uuid
from typing import Any

from directory.sandbox.company import Group, GroupKind, Person
from directory.sandbox.directory_object import Properties

CREATED_AT = "2021-03-01T09:00:00Z"


def security_identifier(object_id: str) -> str:
    """Return the SID that Entra derives from an object id: S-1-12-1-a-b-c-d."""
    raw = uuid.UUID(object_id).bytes_le
    parts = [str(int.from_bytes(raw[i : i + 4], "little")) for i in (0, 4, 8, 12)]
    return "S-1-12-1-" + "-".join(parts)


def person_properties(person: Person) -> Properties:
    properties: dict[str, Any] = {
        "displayName": person.display_name,
        "givenName": person.given_name,
        "surname": person.surname,
        "userPrincipalName": person.upn,
        "mail": person.mail,
        "mailNickname": person.upn.partition("@")[0].partition("#")[0],
        "accountEnabled": person.enabled,
        "userType": "Guest" if person.guest else "Member",
        "department": person.department,
        "jobTitle": person.job_title,
        "mobilePhone": person.mobile_phone,
        "officeLocation": person.office,
        "companyName": person.company,
        "employeeId": person.employee_id,
        "createdDateTime": CREATED_AT,
    }
    if person.guest:
        properties["externalUserState"] = "Accepted"
        properties["creationType"] = "Invitation"
    if person.mobile_phone:
        properties["businessPhones"] = [person.mobile_phone]
    return properties


def group_properties(group: Group) -> Properties:
    types = ["Unified"] if group.kind is GroupKind.MICROSOFT_365 else []
    if group.rule:
        types.append("DynamicMembership")
    mailed = group.kind is not GroupKind.SECURITY
    properties: dict[str, Any] = {
        "displayName": group.display_name,
        "description": group.description,
        "mailNickname": group.nickname,
        "mail": group.mail,
        "mailEnabled": mailed,
        "securityEnabled": group.kind
        in (GroupKind.SECURITY, GroupKind.MAIL_ENABLED_SECURITY),
        "groupTypes": types,
        "createdDateTime": CREATED_AT,
        "renewedDateTime": CREATED_AT,
        "securityIdentifier": security_identifier(group.object_id),
    }
    if group.mail:
        properties["proxyAddresses"] = [f"SMTP:{group.mail}"]
    if group.rule:
        properties["membershipRule"] = group.rule
        properties["membershipRuleProcessingState"] = "On"
    if group.assignable_to_role:
        properties["isAssignableToRole"] = True
    if group.hidden_membership:
        properties["visibility"] = "HiddenMembership"
    elif group.kind is GroupKind.MICROSOFT_365:
        properties["visibility"] = "Private"
    return properties
