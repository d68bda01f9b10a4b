"""Make a tenant's seed: the named cast and a deterministic crowd around it.

The same company, sizes and seed always give the same ids, names and memberships.
"""

import dataclasses
import math
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from directory.sandbox import names, rules
from directory.sandbox.company import (
    DEPARTMENTS,
    FERNHILL,
    QUARREL,
    ROLE_TEMPLATES,
    Company,
    Group,
    GroupKind,
    Person,
    object_id,
)
from directory.sandbox.tenant import DirectoryObject, Kind, Properties, Seed

_EPOCH = datetime(2021, 3, 1, 9, 0, tzinfo=UTC)
CREATED_AT = "2021-03-01T09:00:00Z"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many users, groups and memberships a tenant has in all; and the seed."""

    users: int
    groups: int
    memberships: int
    seed: int = 1


def sizes_of(company: Company) -> Sizes:
    return Sizes(
        users=company.users_in_all,
        groups=company.groups_in_all,
        memberships=company.memberships_in_all,
    )


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


def seed(company: Company, sizes: Sizes) -> Seed:
    """Build the seed of a tenant: named people first, then the crowd."""
    source = random.Random(f"{company.domain}/{sizes.seed}")  # noqa: S311 not a secret
    objects: dict[str, DirectoryObject] = {}
    for person in company.people:
        objects[person.object_id] = DirectoryObject(
            person.object_id, Kind.USER, person_properties(person)
        )
    crowd = _crowd(company, sizes.users - len(company.people), source)
    objects.update(crowd)
    for thing in company.things:
        objects[thing.object_id] = DirectoryObject(
            thing.object_id, Kind(thing.kind), {"displayName": thing.display_name}
        )
    roles: dict[str, str] = {}
    for name, template in ROLE_TEMPLATES.items():
        role_id = object_id(company.domain, "roles", name)
        objects[role_id] = DirectoryObject(
            role_id,
            Kind.DIRECTORY_ROLE,
            {"displayName": name, "roleTemplateId": template, "description": name},
        )
    for person in company.people:
        for role in person.roles:
            roles[person.object_id] = role

    groups = (*company.groups, *_more_groups(company, sizes, source))
    members = {group.object_id: dict.fromkeys(group.members) for group in groups}
    for group in groups:
        objects[group.object_id] = DirectoryObject(
            group.object_id, Kind.GROUP, group_properties(group)
        )
    _fill_departments(groups, members, objects)
    _fill_by_chance(groups, members, list(crowd), sizes, source)
    return Seed(
        tenant_id=company.tenant_id,
        domain=company.domain,
        initial_domain=company.initial_domain,
        display_name=company.display_name,
        created_at=CREATED_AT,
        objects=objects,
        members=members,
        roles=roles,
    )


def _guid(source: random.Random) -> str:
    digits = f"{source.getrandbits(128):032x}"
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
    )


def _crowd(
    company: Company, count: int, source: random.Random
) -> dict[str, DirectoryObject]:
    departments = ("Office",) if company is QUARREL else DEPARTMENTS
    taken = {person.upn.partition("@")[0] for person in company.people}
    crowd: dict[str, DirectoryObject] = {}
    choice, chance = source.choice, source.random
    for position in range(count):
        (given, given_ascii) = choice(names.GIVEN_NAMES)
        (surname, surname_ascii) = choice(names.SURNAMES)
        local = f"{given_ascii}.{surname_ascii}"
        if local in taken:
            local = f"{local}{position + 2}"
        taken.add(local)
        department = choice(departments)
        guest = chance() < 0.03
        mail = f"{local}@{company.domain}"
        upn = mail
        if guest:
            mail = f"{local}@partner.example"
            upn = f"{local}_partner.example#EXT#@{company.initial_domain}"
        properties: Properties = {
            "displayName": f"{given} {surname}",
            "givenName": given,
            "surname": surname,
            "userPrincipalName": upn,
            "mail": mail if chance() < 0.97 else None,
            "mailNickname": local,
            "accountEnabled": chance() >= 0.02,
            "userType": "Guest" if guest else "Member",
            "createdDateTime": _created_at(position),
        }
        if guest:
            properties["externalUserState"] = "Accepted"
            properties["creationType"] = "Invitation"
        else:
            properties["companyName"] = company.display_name
            properties["employeeId"] = f"E-{position + 100:06d}"
        if chance() < 0.95:
            properties["department"] = department
            properties["jobTitle"] = choice(names.JOB_TITLES[department])
        if chance() < 0.6:
            properties["mobilePhone"] = f"+44 7700 {position % 1_000_000:06d}"
        if chance() < 0.8:
            properties["officeLocation"] = (
                f"{choice(names.OFFICES)} {1 + position % 5}.{position % 40:02d}"
            )
        key = _guid(source)
        crowd[key] = DirectoryObject(key, Kind.USER, properties)
    return crowd


def _created_at(position: int) -> str:
    moment = _EPOCH + timedelta(minutes=7 * (position % 250_000))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _more_groups(
    company: Company, sizes: Sizes, source: random.Random
) -> tuple[Group, ...]:
    wanted = max(0, sizes.groups - len(company.groups))
    made = []
    for position in range(wanted):
        tree = names.TREES[position % len(names.TREES)]
        turn = position // len(names.TREES)
        name = f"Project {tree}" + (f" {turn + 1}" if turn else "")
        nickname = name.lower().replace(" ", "-")
        roll = source.random()
        kind = GroupKind.SECURITY
        if roll < 0.25:
            kind = GroupKind.MICROSOFT_365
        elif roll < 0.35:
            kind = GroupKind.MAIL_ENABLED_SECURITY
        mailed = kind is not GroupKind.SECURITY
        made.append(
            Group(
                object_id=object_id(company.domain, "groups", nickname),
                display_name=name,
                nickname=nickname,
                kind=kind,
                mail=f"{nickname}@{company.domain}" if mailed else None,
            )
        )
    return tuple(made)


def _fill_departments(
    groups: tuple[Group, ...],
    members: dict[str, dict[str, None]],
    objects: dict[str, DirectoryObject],
) -> None:
    """Fill department groups and dynamic groups from the people's properties."""
    users = [entry for entry in objects.values() if entry.kind is Kind.USER]
    by_department: dict[str, list[str]] = {}
    for user in users:
        department = user.properties.get("department")
        if department and user.properties["userType"] == "Member":
            by_department.setdefault(department, []).append(user.id)
    for group in groups:
        if group.rule:
            rule = rules.parse(group.rule)
            matching = (user.id for user in users if rule(user.properties))
            members[group.object_id].update(dict.fromkeys(matching))
        elif group.department:
            people = by_department.get(group.department, ())
            members[group.object_id].update(dict.fromkeys(people))
    engineers = by_department.get("Engineering", [])
    for position, nickname in enumerate(("frontend", "backend", "design-systems")):
        key = object_id(FERNHILL.domain, "groups", nickname)
        if key in members:
            members[key].update(dict.fromkeys(engineers[position::3]))


def _fill_by_chance(
    groups: tuple[Group, ...],
    members: dict[str, dict[str, None]],
    crowd: list[str],
    sizes: Sizes,
    source: random.Random,
) -> None:
    """Fill the groups without a purpose; a few are large, most are small."""
    open_groups = [
        group.object_id
        for group in groups
        if group.display_name.startswith("Project ")
        or group.nickname in ("equipe-montreal", "dubai-team", "contractors-design")
    ]
    left = sizes.memberships - sum(len(inside) for inside in members.values())
    if not open_groups or not crowd or left <= 0:
        return
    # Zipf: the k-th group gets a share of 1/k, but nobody is in a group twice.
    weights = [1 / (rank + 1) for rank in range(len(open_groups))]
    scale = left / sum(weights)
    over = 0
    for weight, key in zip(weights, open_groups, strict=True):
        wanted = min(len(crowd), round(weight * scale) + over)
        over = max(0, round(weight * scale) + over - wanted)
        start = source.randrange(len(crowd))
        stride = source.choice(
            [each for each in (1, 3, 7, 11, 13) if math.gcd(each, len(crowd)) == 1]
        )
        inside = members[key]
        step = 0
        while wanted > 0 and step < len(crowd):
            candidate = crowd[(start + step * stride) % len(crowd)]
            step += 1
            if candidate not in inside:
                inside[candidate] = None
                wanted -= 1
